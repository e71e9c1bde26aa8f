package pii

import (
	"strconv"
	"strings"
)

// grouped reads digits from i on, with single separators between them, at most
// most of them. ok is false if the number goes on before or behind.
func grouped(text []byte, i, most int, separators string) (digits string, to int, ok bool) {
	if before := at(text, i-1); isAlnum(before) || (before == '.' || before == '-') && isDigit(at(text, i-2)) {
		return "", 0, false
	}
	var b []byte
	for j := i; j < len(text) && len(b) <= most; j++ {
		if isDigit(text[j]) {
			b, to = append(b, text[j]), j+1
		} else if strings.IndexByte(separators, text[j]) < 0 || !isDigit(at(text, j+1)) {
			break
		}
	}
	after := at(text, to)
	return string(b), to, len(b) <= most && !isAlnum(after) && !((after == '.' || after == '-') && isDigit(at(text, to+1)))
}

// formed reports whether a form stands at i: 0 stands for a digit, all else for
// itself.
func formed(text []byte, i int, form string) (digits string, to int, ok bool) {
	to = i + len(form)
	if before := at(text, i-1); to > len(text) || isAlnum(before) || before == '-' || before == '.' {
		return "", 0, false
	}
	for j := range len(form) {
		switch c := text[i+j]; {
		case form[j] == '0' && isDigit(c):
			digits += string(c)
		case form[j] == '0' || form[j] != c:
			return "", 0, false
		}
	}
	after := at(text, to)
	return digits, to, !isAlnum(after) && after != '-' && !(after == '.' && isDigit(at(text, to+1)))
}

func number(digits string) int {
	n, _ := strconv.Atoi(digits) // at most 15 digits
	return n
}

// card finds the number of a payment card: of a known scheme, of its length, with
// the check digit of ISO/IEC 7812-1.
func card(text []byte, _, i int) (from, to int, ok bool) {
	digits, to, ok := grouped(text, i, 19, " -")
	if !ok || len(digits) < 14 || !isScheme(digits) {
		return 0, 0, false
	}
	sum := 0
	for k := range len(digits) {
		d := int(digits[len(digits)-1-k] - '0')
		if k%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return i, to, sum%10 == 0
}

// isScheme goes by the ranges of issuers and the lengths of their numbers.
func isScheme(digits string) bool {
	head, n := number(digits[:4]), len(digits)
	switch {
	case digits[0] == '4', 5100 <= head && head <= 5599, 2221 <= head && head <= 2720:
		return n == 16
	case head/100 == 34, head/100 == 37:
		return n == 15
	case 3000 <= head && head <= 3059, head/100 == 36, head/100 == 38, head/100 == 39:
		return n == 14
	case head == 6011, head/100 == 65, 6440 <= head && head <= 6499, 3528 <= head && head <= 3589, head/100 == 62:
		return n >= 16
	}
	return false
}

// ibanLengths has the length of each country's account numbers, by the registry
// of ISO 13616.
const ibanLengths = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28" +
	"HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25" +
	"QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30"

// iban finds an account number: of a country, of its length, with the check
// digits of ISO 7064, in groups of four or not.
func iban(text []byte, _, i int) (from, to int, ok bool) {
	if isAlnum(at(text, i-1)) || i+4 > len(text) || !isCapital(text[i+1]) || !isDigit(text[i+2]) || !isDigit(text[i+3]) {
		return 0, 0, false
	}
	length := 0
	for k := 0; k < len(ibanLengths); k += 4 {
		if ibanLengths[k:k+2] == string(text[i:i+2]) {
			length = number(ibanLengths[k+2 : k+4])
		}
	}
	var chars []byte
	for to = i; to < len(text) && len(chars) < length; to++ {
		switch c := text[to]; {
		case isDigit(c) || isCapital(c):
			chars = append(chars, c)
		case c == ' ' && len(chars)%4 == 0 && text[to-1] != ' ':
		default:
			return 0, 0, false
		}
	}
	if length == 0 || len(chars) < length || isAlnum(at(text, to)) {
		return 0, 0, false
	}
	rest := 0
	for k := range length {
		c := chars[(k+4)%length]
		if isDigit(c) {
			rest = (rest*10 + int(c-'0')) % 97
		} else {
			rest = (rest*100 + int(c-'A') + 10) % 97
		}
	}
	return i, to, rest == 1
}

// usSSN finds a social security number of the United States in its written form.
func usSSN(text []byte, _, i int) (from, to int, ok bool) {
	d, to, ok := formed(text, i, "000-00-0000")
	return i, to, ok && d[:3] != "000" && d[:3] != "666" && d[0] != '9' && d[3:5] != "00" && d[5:] != "0000"
}

// brCPF finds a number of the Brazilian register of persons in its written form.
func brCPF(text []byte, _, i int) (from, to int, ok bool) {
	d, to, ok := formed(text, i, "000.000.000-00")
	if !ok || strings.Count(d, d[:1]) == len(d) {
		return 0, 0, false
	}
	for n := 9; n <= 10; n++ {
		sum := 0
		for k := range n {
			sum += int(d[k]-'0') * (n + 1 - k)
		}
		if sum*10%11%10 != int(d[n]-'0') {
			return 0, 0, false
		}
	}
	return i, to, true
}

// esDNI finds a number of a Spanish identity card: eight digits and the letter
// that follows from them.
func esDNI(text []byte, _, i int) (from, to int, ok bool) {
	if isAlnum(at(text, i-1)) || i+9 > len(text) || isAlnum(at(text, i+9)) {
		return 0, 0, false
	}
	for _, c := range text[i : i+8] {
		if !isDigit(c) {
			return 0, 0, false
		}
	}
	return i, i + 9, text[i+8] == "TRWAGMYFPDXBNJZSQVHLCKE"[number(string(text[i:i+8]))%23]
}

// frNIR finds a French social security number of mainland France: 15 digits, in
// groups or not, of which the last two follow from the others.
func frNIR(text []byte, _, i int) (from, to int, ok bool) {
	d, to, ok := grouped(text, i, 15, " ")
	if !ok || len(d) != 15 || d[0] != '1' && d[0] != '2' {
		return 0, 0, false
	}
	if month := number(d[3:5]); month < 1 || month > 12 {
		return 0, 0, false
	}
	return i, to, 97-number(d[:13])%97 == number(d[13:])
}
