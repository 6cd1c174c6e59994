package ecmajson

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// judge returns the rule, if any, by which the JSON text src must be refused: the
// kind of the first error in the order of the text. It shares no code with Append
// and takes the rules literally, with rational numbers. src must be valid JSON.
func judge(src []byte, maxDepth int) error {
	dec := json.NewDecoder(bytes.NewReader(src))
	dec.UseNumber()
	type level struct {
		object, value, ofConstructor bool
		key                          json.Token
	}
	var open []level
	for {
		tok, err := dec.Token()
		if err != nil {
			return nil // end of the valid text
		}
		if d, ok := tok.(json.Delim); ok && (d == '}' || d == ']') {
			open = open[:len(open)-1]
			continue
		}
		if n := len(open); n > 0 && open[n-1].object {
			top := &open[n-1]
			isKey := !top.value
			top.value = isKey
			if isKey {
				if tok == "__proto__" || tok == "prototype" && top.ofConstructor {
					return ErrKey
				}
				top.key = tok
				continue
			}
		}
		switch v := tok.(type) {
		case json.Delim:
			if len(open) == maxDepth {
				return ErrDepth
			}
			n := len(open)
			open = append(open, level{object: v == '{', ofConstructor: n > 0 && open[n-1].key == "constructor"})
		case json.Number:
			if !holds(string(v)) {
				return ErrNumber
			}
		}
	}
}

// holds reports whether JavaScript holds the number with the given literal.
func holds(lit string) bool {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(lit, "-")), "e")
	whole, frac, _ := strings.Cut(mantissa, ".")
	sig := strings.Trim(whole+frac, "0")
	if sig == "" {
		return true
	}
	// big.Rat would write out a huge exponent, which is out of range anyway.
	exp, err := strconv.Atoi(exponent)
	if exponent == "" {
		exp = 0
	} else if most := 5000 + len(mantissa); err != nil || exp > most || exp < -most {
		return false
	}
	exact, ok := new(big.Rat).SetString(mantissa + "e" + strconv.Itoa(exp))
	if !ok {
		return false
	}
	f, _ := exact.Float64()
	if math.IsInf(f, 0) || f == 0 {
		return false
	}
	shortest, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
	if exact.Cmp(shortest) == 0 {
		return true
	}
	if exact.IsInt() || f >= 1<<53 {
		return false
	}
	if exact.Cmp(new(big.Rat).SetFloat64(f)) == 0 {
		return true
	}
	if len(sig) > 17 {
		return false
	}
	if f >= 0x1p-1022 {
		return true
	}
	rounded, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'e', len(sig)-1, 64))
	return exact.Cmp(rounded) == 0
}
