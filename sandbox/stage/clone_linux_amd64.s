#include "textflag.h"

// func clone(flags, stack, arg uintptr) (r uintptr)
//
// The child starts at ·childMain on its own stack. It keeps the parent's thread
// pointer, so that compiled code finds its g; it never enters the runtime.
TEXT ·clone(SB),NOSPLIT,$0-32
	MOVQ	flags+0(FP), DI
	MOVQ	stack+8(FP), SI
	MOVQ	arg+16(FP), R12 // kept across the call, in the child too
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	MOVL	$56, AX // SYS_clone
	SYSCALL
	TESTQ	AX, AX
	JEQ	child
	MOVQ	AX, r+24(FP)
	RET
child:
	SUBQ	$32, SP
	MOVQ	R12, AX // Go's own convention: the first argument in AX, X15 zero
	XORPS	X15, X15
	MOVQ	·childEntry(SB), BX
	CALL	BX
	INT	$3

// The program of process 1 (init_linux.go): from initStart to initEnd, copied
// into a file of its own. It uses no memory but its stack, and no address.
//
//	CONTROL is descriptor 3, the agent process 2.
TEXT ·initStart(SB),NOSPLIT|NOFRAME,$0-0
	// prctl(PR_SET_PDEATHSIG, SIGKILL), prctl(PR_SET_DUMPABLE, 0)
	MOVL	$157, AX
	MOVL	$1, DI
	MOVL	$9, SI
	SYSCALL
	TESTQ	AX, AX
	JNE	end
	MOVL	$157, AX
	MOVL	$4, DI
	XORL	SI, SI
	SYSCALL
	TESTQ	AX, AX
	JNE	end
	// A second thread carries out what the supervisor says. Its stack is part of this one.
	MOVL	$56, AX     // clone
	MOVL	$0x10f00, DI // CLONE_VM, FS, FILES, SIGHAND, THREAD
	LEAQ	-4096(SP), SI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	SYSCALL
	TESTQ	AX, AX
	JLT	end
	JEQ	obey
	// hello: one byte
	MOVB	$0x68, 0(SP)
	MOVL	$1, AX // write
	MOVL	$3, DI
	MOVQ	SP, SI
	MOVL	$1, DX
	SYSCALL
	CMPQ	AX, $1
	JNE	end
reap:
	MOVL	$61, AX // wait4(-1, SP, WUNTRACED, 0)
	MOVQ	$-1, DI
	MOVQ	SP, SI
	MOVL	$2, DX
	XORL	R10, R10
	SYSCALL
	CMPQ	AX, $-10 // ECHILD: all are gone
	JEQ	rest
	CMPQ	AX, $2
	JNE	reap
	MOVL	$1, AX // write(CONTROL, SP, 4): the agent's wait status
	MOVL	$3, DI
	MOVQ	SP, SI
	MOVL	$4, DX
	SYSCALL
	CMPQ	AX, $4
	JNE	end
	JMP	reap
rest:
	MOVL	$34, AX // pause
	SYSCALL
	JMP	rest
obey:
	XORL	AX, AX // read(CONTROL, SP, 8): pid and signal
	MOVL	$3, DI
	LEAQ	-16(SP), SI
	MOVL	$8, DX
	SYSCALL
	CMPQ	AX, $8
	JNE	end // end of file: the supervisor is gone
	MOVL	$62, AX // kill
	MOVLQSX	-16(SP), DI
	MOVL	-12(SP), SI
	SYSCALL
	JMP	obey
end:
	MOVL	$231, AX // exit_group
	MOVL	$1, DI
	SYSCALL
	INT	$3

TEXT ·initEnd(SB),NOSPLIT|NOFRAME,$0-0
	RET

DATA ·initBounds+0(SB)/8, $·initStart(SB)
DATA ·initBounds+8(SB)/8, $·initEnd(SB)
GLOBL ·initBounds(SB), RODATA, $16
