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

// claim holds the contents of the headers, not yet verified.
type claim struct {
	plain    []byte   // the plain digest; nil where webhook-signature is there
	v1, v1a  [][]byte // decoded signatures, only of versions that the Verifier has keys for
	id       string
	stamp    string // webhook-timestamp as sent: the signature covers this text
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

// single returns the value of a header that must not be repeated.
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

// parseHeader parses the headers into a claim, or says how they are malformed.
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
	// The header is not signed and only informs, so a value that is not a
	// number leaves the attempt at 0.
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
	// hex.DecodeString refuses every character but hex digits of either case.
	if len(sig) != hex.EncodedLen(sha256.Size) {
		return fmt.Errorf("%w: %s is %d bytes long, want exactly %d hex digits", ErrSignatureFormat, headerPlain, len(sig), hex.EncodedLen(sha256.Size))
	}
	c.plain, err = hex.DecodeString(sig)
	if err != nil {
		return fmt.Errorf("%w: %s has characters that are not hex digits", ErrSignatureFormat, headerPlain)
	}
	// The plain signature does not cover the ID. A well-formed ID is passed on
	// for logs and for deduplication of the sender's own retries.
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
		return fmt.Errorf("%w: webhook-signature covers it", ErrNoID)
	}
	if err := checkID(id); err != nil {
		return err
	}
	stamp, present, err := single(h, headerTimestamp)
	if err != nil {
		return err
	}
	if !present {
		return fmt.Errorf("%w: webhook-signature covers it", ErrNoTimestamp)
	}
	sec, err := parseUnix(stamp)
	if err != nil {
		return err
	}
	c.id, c.stamp, c.sentAt = strings.Clone(id), strings.Clone(stamp), time.Unix(sec, 0).UTC()
	return v.parseSignatures(c, sigs)
}

// parseSignatures reads the space-separated "version,base64" entries. An entry
// of a version without a key is skipped unread; every other entry has to be
// well-formed.
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

// decodeSignature accepts only one spelling of each signature.
func decodeSignature(s string, size int) ([]byte, bool) {
	// The exact length leaves no room for line breaks, which encoding/base64
	// would skip.
	if len(s) != base64.StdEncoding.EncodedLen(size) {
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return b, err == nil && len(b) == size
}

// checkID refuses dots, because the signed text is joined with dots and could
// otherwise be read in two ways, and characters that would harm a log or a
// database key.
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

// parseUnix reads decimal digits only, without sign, space or leading zero, so
// that every time has one spelling.
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
