package pii

import (
	"net/netip"
	"slices"
	"strings"
)

// notDomains are endings of files that are written behind an @ ("logo@2x.png").
var notDomains = strings.Fields("png jpg jpeg gif svg webp avif ico pdf css js mjs ts tsx jsx json html xml yaml yml toml lock md txt go py rs rb java")

// email finds an address around an @: a local part of what most have, and a
// domain whose last label has letters alone. That of a Git server is no
// person's.
func email(text []byte, low, i int) (from, to int, ok bool) {
	from = i
	for from > low && i-from < 64 && (isAlnum(text[from-1]) || strings.IndexByte("._%+-'", text[from-1]) >= 0) {
		from--
	}
	for from < i && !isAlnum(text[from]) { // quotes and the like
		from++
	}
	to = i + 1
	for to < len(text) && to-i <= 254 && (isAlnum(text[to]) || text[to] == '-' || text[to] == '.') {
		to++
	}
	for to > i+1 && !isAlnum(text[to-1]) {
		to--
	}
	local, domain := string(text[from:i]), string(text[i+1:to])
	dot := strings.LastIndexByte(domain, '.')
	if local == "" || local == "git" || dot < 1 || local[len(local)-1] == '.' || strings.Contains(domain, "..") || strings.Contains(local, "..") {
		return 0, 0, false
	}
	last := strings.ToLower(domain[dot+1:])
	if len(last) < 2 || len(last) > 24 || slices.Contains(notDomains, last) || strings.ContainsFunc(last, func(r rune) bool { return r < 'a' || r > 'z' }) {
		return 0, 0, false
	}
	for label := range strings.SplitSeq(domain, ".") {
		if len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return 0, 0, false
		}
	}
	return from, to, true
}

// callingCodes are the country codes of the E.164 plan.
var callingCodes = strings.Fields(`1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66
	81 82 84 86 90 91 92 93 94 95 98 211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 231 232 233 234 235 236 237 238 239
	240 241 242 243 244 245 246 247 248 249 250 251 252 253 254 255 256 257 258 260 261 262 263 264 265 266 267 268 269 290 291 297 298
	299 350 351 352 353 354 355 356 357 358 359 370 371 372 373 374 375 376 377 378 379 380 381 382 383 385 386 387 389 420 421 423 500
	501 502 503 504 505 506 507 508 509 590 591 592 593 594 595 596 597 598 599 670 672 673 674 675 676 677 678 679 680 681 682 683 685
	686 687 688 689 690 691 692 800 808 850 852 853 855 856 870 878 880 881 882 883 886 888 960 961 962 963 964 965 966 967 968 970 971
	972 973 974 975 976 977 979 992 993 994 995 996 998`)

// phone finds an international number: a plus sign, a country code, and 8 to 15
// digits in all, in groups or not.
func phone(text []byte, _, i int) (from, to int, ok bool) {
	if c := at(text, i-1); isAlnum(c) || c == '+' {
		return 0, 0, false
	}
	var digits []byte
	between := 0
	for j := i + 1; j < len(text) && len(digits) <= 15; j++ {
		c := text[j]
		switch {
		case isDigit(c):
			digits, between, to = append(digits, c), 0, j+1
			continue
		case strings.IndexByte(" -.()/", c) >= 0 && between < 2 && len(digits) > 0:
			between++
			continue
		}
		break
	}
	if len(digits) < 8 || len(digits) > 15 || isAlnum(at(text, to)) {
		return 0, 0, false
	}
	return i, to, slices.ContainsFunc(callingCodes, func(c string) bool { return strings.HasPrefix(string(digits), c) })
}

// address finds an IP address of the Internet: private ones, loopback and the
// like tell nothing about a person.
func address(text []byte, _, i int) (from, to int, ok bool) {
	in := func(c byte) bool { return isAlnum(c) || c == '.' || c == ':' }
	if in(at(text, i-1)) {
		return 0, 0, false
	}
	to = i
	for to < len(text) && to-i < 46 && in(text[to]) {
		to++
	}
	if in(at(text, to)) {
		return 0, 0, false
	}
	token := strings.TrimRight(string(text[i:to]), ".:")
	a, err := netip.ParseAddr(token)
	if err != nil {
		p, err := netip.ParseAddrPort(token)
		if err != nil {
			return 0, 0, false
		}
		a = p.Addr()
		token = a.String()
	}
	a = a.Unmap()
	return i, i + len(token), a.IsGlobalUnicast() && !a.IsPrivate()
}
