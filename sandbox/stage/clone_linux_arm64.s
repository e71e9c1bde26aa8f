#include "textflag.h"

// func clone(flags, stack, arg uintptr) (r uintptr); see clone_linux_amd64.s.
TEXT ·clone(SB),NOSPLIT,$0-32
	MOVD	flags+0(FP), R0
	MOVD	stack+8(FP), R1
	MOVD	arg+16(FP), R19 // kept across the call, in the child too
	MOVD	ZR, R2
	MOVD	ZR, R3
	MOVD	ZR, R4
	MOVD	$220, R8 // SYS_clone
	SVC
	CBZ	R0, child
	MOVD	R0, r+24(FP)
	RET
child:
	SUB	$32, RSP
	MOVD	·childEntry(SB), R1
	MOVD	R19, R0 // Go's own convention: the first argument in R0
	CALL	(R1)
	BRK

// The program of process 1; see clone_linux_amd64.s.
TEXT ·initStart(SB),NOSPLIT|NOFRAME,$0-0
	MOVD	$167, R8 // prctl(PR_SET_PDEATHSIG, SIGKILL)
	MOVD	$1, R0
	MOVD	$9, R1
	SVC
	CBNZ	R0, end
	MOVD	$167, R8 // prctl(PR_SET_DUMPABLE, 0)
	MOVD	$4, R0
	MOVD	ZR, R1
	SVC
	CBNZ	R0, end
	MOVD	$220, R8 // clone
	MOVD	$0x10f00, R0
	SUB	$4096, RSP, R1
	MOVD	ZR, R2
	MOVD	ZR, R3
	MOVD	ZR, R4
	SVC
	CBZ	R0, obey
	TBNZ	$63, R0, end
	MOVD	$0x68, R1
	MOVD	R1, 0(RSP)
	MOVD	$64, R8 // write(CONTROL, SP, 1): hello
	MOVD	$3, R0
	MOVD	RSP, R1
	MOVD	$1, R2
	SVC
	CMP	$1, R0
	BNE	end
reap:
	MOVD	$260, R8 // wait4(-1, SP, WUNTRACED, 0)
	MOVD	$-1, R0
	MOVD	RSP, R1
	MOVD	$2, R2
	MOVD	ZR, R3
	SVC
	CMN	$10, R0 // ECHILD
	BEQ	rest
	CMP	$2, R0
	BNE	reap
	MOVD	$64, R8 // write(CONTROL, SP, 4): the agent's wait status
	MOVD	$3, R0
	MOVD	RSP, R1
	MOVD	$4, R2
	SVC
	CMP	$4, R0
	BNE	end
	B	reap
rest:
	MOVD	$73, R8 // ppoll, forever
	MOVD	ZR, R0
	MOVD	ZR, R1
	MOVD	ZR, R2
	MOVD	ZR, R3
	SVC
	B	rest
obey:
	MOVD	$63, R8 // read(CONTROL, SP, 8): pid and signal
	MOVD	$3, R0
	SUB	$16, RSP, R1
	MOVD	$8, R2
	SVC
	CMP	$8, R0
	BNE	end // end of file: the supervisor is gone
	SUB	$16, RSP, R1
	MOVW	0(R1), R0
	MOVW	4(R1), R1
	MOVD	$129, R8 // kill
	SVC
	B	obey
end:
	MOVD	$94, R8 // exit_group
	MOVD	$1, R0
	SVC
	BRK

TEXT ·initEnd(SB),NOSPLIT|NOFRAME,$0-0
	RET

DATA ·initBounds+0(SB)/8, $·initStart(SB)
DATA ·initBounds+8(SB)/8, $·initEnd(SB)
GLOBL ·initBounds(SB), RODATA, $16
