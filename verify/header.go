package verify

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// The names in their canonical form, as net/http keeps them.
const (
	headerPlain     = "X-Webhook-Signature"
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
	headerEvent     = "X-Webhook-Event"
	headerAttempt   = "X-Webhook-Attempt"
)

const (
	// maxSignatures bounds the entries of webhook-signature, each of which
	// costs a comparison with every key. A sender writes one per active secret.
	maxSignatures = 16
	// maxSignatureHeader bounds the header's bytes: room for maxSignatures
	// entries of versions with far longer signatures.
	maxSignatureHeader = 8 << 10
	maxID              = 255
	// maxTimestampDigits reaches beyond the year 30000 and cannot overflow.
	maxTimestampDigits = 12
)

// claim is what the headers say before anything was verified.
type claim struct {
	plain    []byte   // the plain digest; nil where webhook-signature is there
	v1, v1a  [][]byte // decoded signatures of versions that there are keys for
	id       string
	stamp    string // webhook-timestamp as sent, since that text is signed
	sentAt   time.Time
	attempt  int
	events   []string // X-Webhook-Event
	versions int      // all entries of webhook-signature, known or not
}

// values returns all values of the header whose canonical name is given,
// whatever its spelling in h: not every framework canonicalises names.
func values(h map[string][]string, canonical string) []string {
	var all []string
	for name, vs := range h {
		if len(name) == len(canonical) && textproto.CanonicalMIMEHeaderKey(name) == canonical {
			all = append(all, vs...)
		}
	}
	return all
}

// single returns the one value of a header that must not be repeated.
func single(h map[string][]string, canonical string) (value string, present bool, err error) {
	switch vs := values(h, canonical); len(vs) {
	case 0:
		return "", false, nil
	case 1:
		return vs[0], true, nil
	default:
		return "", true, fmt.Errorf("%w: %s is there %d times", ErrHeaderRepeated, canonical, len(vs))
	}
}

// parseHeader turns the headers into a claim that is well-formed.
func (v *Verifier) parseHeader(h map[string][]string) (claim, error) {
	var c claim
	if v == nil || len(v.v1Keys) == 0 && len(v.publicKeys) == 0 {
		return c, fmt.Errorf("%w: make the Verifier with New", ErrNoSecret)
	}
	sigs, standard, err := single(h, headerSignature)
	if err != nil {
		return c, err
	}
	if standard {
		err = v.parseStandard(&c, h, sigs)
	} else {
		err = v.parsePlain(&c, h)
	}
	if err != nil {
		return c, err
	}
	c.events = values(h, headerEvent)
	// Not signed and for information only: what is not a number is no attempt.
	if s, _, err := single(h, headerAttempt); err == nil {
		if n, err := strconv.ParseUint(s, 10, 31); err == nil {
			c.attempt = int(n)
		}
	}
	return c, nil
}

func (v *Verifier) parsePlain(c *claim, h map[string][]string) error {
	sig, present, err := single(h, headerPlain)
	switch {
	case err != nil:
		return err
	case !present:
		return fmt.Errorf("%w: neither webhook-signature nor %s is there", ErrNoSignature, headerPlain)
	case !v.cfg.AllowPlain:
		return fmt.Errorf("%w: set Config.AllowPlain to accept it without a time", ErrPlainOnly)
	}
	// The right length of another alphabet is caught by hex.DecodeString,
	// which takes either case and nothing else.
	if len(sig) != hex.EncodedLen(sha256.Size) {
		return fmt.Errorf("%w: %s is %d bytes long, want %d hex digits and nothing else", ErrSignatureFormat, headerPlain, len(sig), hex.EncodedLen(sha256.Size))
	}
	c.plain, err = hex.DecodeString(sig)
	if err != nil {
		return fmt.Errorf("%w: %s has characters that are not hex digits", ErrSignatureFormat, headerPlain)
	}
	// The ID is not covered by this signature. It is passed on where it is an
	// identifier, for logs and deduplication of honest retries.
	if id, present, err := single(h, headerID); err != nil {
		return err
	} else if present {
		if err := checkID(id); err != nil {
			return err
		}
		c.id = strings.Clone(id)
	}
	return nil
}

func (v *Verifier) parseStandard(c *claim, h map[string][]string, sigs string) error {
	id, present, err := single(h, headerID)
	if err != nil {
		return err
	}
	if !present {
		return fmt.Errorf("%w: it is part of what webhook-signature signs", ErrNoID)
	}
	if err := checkID(id); err != nil {
		return err
	}
	stamp, present, err := single(h, headerTimestamp)
	if err != nil {
		return err
	}
	if !present {
		return fmt.Errorf("%w: it is part of what webhook-signature signs", ErrNoTimestamp)
	}
	sec, err := parseUnix(stamp)
	if err != nil {
		return err
	}
	c.id, c.stamp, c.sentAt = strings.Clone(id), strings.Clone(stamp), time.Unix(sec, 0).UTC()
	return v.parseSignatures(c, sigs)
}

// parseSignatures reads the space-separated "version,base64" entries. What is
// of a version without a key is skipped unread; what is to be compared has to
// be well-formed.
func (v *Verifier) parseSignatures(c *claim, list string) error {
	if list == "" {
		return fmt.Errorf("%w: webhook-signature is empty", ErrSignatureFormat)
	}
	if len(list) > maxSignatureHeader {
		return fmt.Errorf("%w: webhook-signature is %d bytes long, limit %d", ErrSignatureFormat, len(list), maxSignatureHeader)
	}
	for entry := range strings.SplitSeq(list, " ") {
		if c.versions++; c.versions > maxSignatures {
			return fmt.Errorf("%w: webhook-signature has more than %d entries", ErrSignatureFormat, maxSignatures)
		}
		version, text, ok := strings.Cut(entry, ",")
		if !ok || version == "" {
			return fmt.Errorf("%w: entry %d of webhook-signature is not a version, a comma and a signature", ErrSignatureFormat, c.versions)
		}
		var size int
		var into *[][]byte
		switch {
		case version == string(SchemeV1) && len(v.v1Keys) > 0:
			size, into = sha256.Size, &c.v1
		case version == string(SchemeV1a) && len(v.publicKeys) > 0:
			size, into = ed25519.SignatureSize, &c.v1a
		default:
			continue
		}
		sig, ok := decodeSignature(text, size)
		if !ok {
			return fmt.Errorf("%w: entry %d (%s) of webhook-signature is not the base64 of %d bytes", ErrSignatureFormat, c.versions, version, size)
		}
		*into = append(*into, sig)
	}
	if len(c.v1) == 0 && len(c.v1a) == 0 {
		return fmt.Errorf("%w: none of %d entries is of a version that this receiver has a key for", ErrSignatureVersion, c.versions)
	}
	return nil
}

// decodeSignature accepts one spelling only for each signature.
func decodeSignature(s string, size int) ([]byte, bool) {
	// With the exact length there is no room for the line breaks that
	// encoding/base64 would skip.
	if len(s) != base64.StdEncoding.EncodedLen(size) {
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return b, err == nil && len(b) == size
}

// checkID keeps out what would make the signed text, which is joined with
// dots, readable in two ways, and what would harm a log or a database key.
func checkID(id string) error {
	if id == "" || len(id) > maxID {
		return fmt.Errorf("%w: %d bytes long, want 1 to %d", ErrIDFormat, len(id), maxID)
	}
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c >= 0x7f || c == '.' || c == ',' {
			return fmt.Errorf("%w: character %q at byte %d", ErrIDFormat, c, i)
		}
	}
	return nil
}

// parseUnix reads decimal digits and nothing else: no sign, no space, no
// leading zero, so that every time has one spelling.
func parseUnix(s string) (int64, error) {
	if s == "" || len(s) > maxTimestampDigits || s[0] == '0' && s != "0" {
		return 0, fmt.Errorf("%w: %.32q, want unix seconds without leading zeros", ErrTimestampFormat, s)
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, fmt.Errorf("%w: %.32q, want unix seconds in decimal digits", ErrTimestampFormat, s)
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, nil
}
