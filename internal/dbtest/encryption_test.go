package dbtest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/pgstore"
	"github.com/seed68722ecd/webhook/sqlitestore"
)

// vault is a store on a real database, with access to its disk.
type vault struct {
	webhook.Store
	db *sql.DB
	// dump writes everything to the disk and returns all of its content.
	dump func(t *testing.T) []byte
	// swap exchanges two columns of two webhooks by SQL.
	swap string
}

// eachVault runs a test on every durable store with every driver.
func eachVault(t *testing.T, test func(t *testing.T, v *vault)) {
	sqliteEach(t, func(t *testing.T, driver string) {
		path := filepath.Join(t.TempDir(), "webhook.db")
		db := sqliteOpen(t, driver, path)
		test(t, &vault{
			Store: sqliteStoreOn(t, db, sqlitestore.Config{}), db: db, swap: `webhook_webhooks`,
			dump: func(t *testing.T) []byte { return files(t, filepath.Dir(path), time.Time{}) },
		})
	})
	for _, driver := range pgDrivers {
		t.Run(driver, func(t *testing.T) {
			db := pgOpen(t, driver, "")
			schema := pgSchema(t, db)
			began := time.Now().Add(-time.Minute)
			test(t, &vault{
				Store: pgStore(t, db, pgstore.Config{Schema: schema}), db: db, swap: schema + ".webhook_webhooks",
				dump: func(t *testing.T) []byte {
					if _, err := db.Exec("CHECKPOINT"); err != nil {
						t.Fatal(err)
					}
					return files(t, postgres(t).data(), began)
				},
			})
		})
	}
}

// files returns the contents of every file below dir that was written since a time:
// tables, indexes and journals alike.
func files(t *testing.T, dir string, since time.Time) []byte {
	t.Helper()
	var all bytes.Buffer
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // temporary files come and go
		}
		if info, err := d.Info(); err != nil || info.ModTime().Before(since) {
			return nil
		}
		b, err := os.ReadFile(path)
		if err == nil {
			all.Write(b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.Bytes()
}

// inbox receives requests and keeps them.
type inbox struct {
	mu  sync.Mutex
	got []*http.Request
	raw []string
}

func (b *inbox) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got, b.raw = append(b.got, r), append(b.raw, string(body))
	return &http.Response{StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

// take returns the requests received since the last call.
func (b *inbox) take() (got []*http.Request, bodies []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	got, bodies, b.got, b.raw = b.got, b.raw, nil, nil
	return got, bodies
}

func ring(t testing.TB, ids ...string) *webhook.Keyring {
	t.Helper()
	var keys []webhook.EncryptionKey
	for _, id := range ids {
		sum := sha256.Sum256([]byte(id))
		keys = append(keys, webhook.EncryptionKey{ID: strings.TrimSuffix(id, "!"), Key: sum[:]})
	}
	k, err := webhook.NewKeyring(keys[0], keys[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// over returns a dispatcher on the vault.
func (v *vault) over(t testing.TB, in *inbox, keys *webhook.Keyring) *webhook.Dispatcher {
	t.Helper()
	d, err := webhook.New(v.Store, webhook.Config{Client: &http.Client{Transport: in}, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// send publishes one event. It returns how many requests were sent, and how many of
// them were signed with the secret and had the token.
func send(t testing.TB, d *webhook.Dispatcher, in *inbox, secret, token string) (right, all int) {
	t.Helper()
	if _, err := d.Publish(t.Context(), webhook.Event{Tenant: tenant, Type: "a.b", Data: map[string]int{"n": 1}}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.DeliverDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, bodies := in.take()
	for i, r := range got {
		m := hmac.New(sha256.New, []byte(secret))
		io.WriteString(m, bodies[i])
		if r.Header.Get("X-Webhook-Signature") == hex.EncodeToString(m.Sum(nil)) && r.Header.Get("X-Token") == token {
			right++
		}
	}
	return right, len(got)
}

// marks returns a secret and a header value that occur nowhere else.
func marks(t testing.TB) (secret, token string) {
	return fmt.Sprintf("marker-secret-%s-%d", strings.ReplaceAll(t.Name(), "/", "-"), time.Now().UnixNano()),
		fmt.Sprintf("marker-token-%d", time.Now().UnixNano())
}

func register(t testing.TB, d *webhook.Dispatcher, secret, token string) webhook.Webhook {
	t.Helper()
	w, _, err := d.CreateWebhook(t.Context(), tenant, webhook.WebhookSpec{
		Name: "n", URL: "https://h.example.com/", Events: []string{"*"}, Secret: secret, Headers: map[string]string{"X-Token": token},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// shows returns the form in which a text occurs in a dump: plain or in a common
// encoding.
func shows(dump []byte, text string) string {
	for name, form := range map[string]string{
		"plain": text, "hex": hex.EncodeToString([]byte(text)), "base64": base64.StdEncoding.EncodeToString([]byte(text))[:len(text)/3*4],
	} {
		if bytes.Contains(dump, []byte(form)) {
			return name
		}
	}
	return ""
}

// Neither the tables nor the journals on the disk ever hold a secret or a
// header's value, through creation, editing, rotation and delivery.
func TestP5_DumpHoldsNoSecret(t *testing.T) {
	eachVault(t, func(t *testing.T, v *vault) {
		in := &inbox{}
		d := v.over(t, in, ring(t, "k1"))
		secret, token := marks(t)
		w := register(t, d, secret, token)
		if right, all := send(t, d, in, secret, token); right != 1 || all != 1 {
			t.Fatalf("%d of %d requests are right", right, all)
		}
		if _, err := d.UpdateWebhook(t.Context(), tenant, w.ID, 1, webhook.WebhookUpdate{Headers: map[string]string{"X-Token": token + "-2"}}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.RotateSecret(t.Context(), tenant, w.ID, webhook.Rotation{Secret: secret + "-2"}); err != nil {
			t.Fatal(err)
		}
		if right, all := send(t, d, in, secret+"-2", token+"-2"); right != 1 || all != 1 {
			t.Fatalf("%d of %d requests are right", right, all)
		}
		dump := v.dump(t)
		if !bytes.Contains(dump, []byte(w.ID)) {
			t.Fatal("the dump does not hold the webhook, so the test proves nothing")
		}
		for _, text := range []string{secret, token} {
			if form := shows(dump, text); form != "" {
				t.Errorf("the database holds %.13s… (%s)", text, form)
			}
		}
		// Without a key both are in the dump, so the search would find them.
		register(t, v.over(t, in, nil), secret, token)
		dump = v.dump(t)
		if shows(dump, secret) == "" || shows(dump, token) == "" {
			t.Error("the plain values are not found in the dump")
		}
	})
}

// The values of one webhook, copied into the row of another, cannot be decrypted
// there. Only the deliveries of that webhook are held back.
func TestP5_RowSwapIsRefusedInTheDatabase(t *testing.T) {
	eachVault(t, func(t *testing.T, v *vault) {
		in := &inbox{}
		d := v.over(t, in, ring(t, "k1"))
		secret, token := marks(t)
		a, b := register(t, d, secret, token), register(t, d, secret, token)
		if _, err := v.db.Exec(fmt.Sprintf(`UPDATE %s SET secrets = (SELECT x.secrets FROM %s x WHERE x.id = '%s') WHERE id = '%s'`, v.swap, v.swap, b.ID, a.ID)); err != nil {
			t.Fatal(err)
		}
		if right, all := send(t, d, in, secret, token); right != 1 || all != 1 {
			t.Errorf("%d of %d requests are right, want one, to the other webhook", right, all)
		}
		for id, unreadable := range map[string]bool{a.ID: true, b.ID: false} {
			got, err := d.Webhook(t.Context(), tenant, id)
			if err != nil || strings.Contains(got.Unreadable, "belongs to another webhook") != unreadable {
				t.Errorf("%q, %v", got.Unreadable, err)
			}
		}
		page, err := d.Deliveries(t.Context(), webhook.DeliveryQuery{Tenant: tenant, WebhookID: a.ID})
		if err != nil || len(page.Items) != 1 || page.Items[0].State != webhook.StatePending || page.Items[0].Attempts != 0 {
			t.Errorf("deliveries %+v, %v", page.Items, err)
		}
	})
}

// From plain rows to a first key, to a second, to a wrong one: deliveries with
// readable values are sent correctly; the others are not sent and stay pending.
func TestP5_KeysChangeInTheDatabase(t *testing.T) {
	eachVault(t, func(t *testing.T, v *vault) {
		in := &inbox{}
		secret, token := marks(t)
		for range 5 {
			register(t, v.over(t, in, nil), secret, token)
		}
		step := func(what string, keys *webhook.Keyring, changed int) *webhook.Dispatcher {
			t.Helper()
			d := v.over(t, in, keys)
			if right, all := send(t, d, in, secret, token); right != 5 || all != 5 {
				t.Fatalf("%s: %d of %d requests are right, want 5", what, right, all)
			}
			n, req := 0, webhook.ReencryptRequest{Limit: 2}
			for {
				res, err := d.ReencryptSecrets(t.Context(), req)
				if err != nil || res.Unreadable != nil {
					t.Fatalf("%s: %+v, %v", what, res, err)
				}
				if n += res.Changed; res.Next == "" {
					break
				}
				req.Cursor = res.Next
			}
			if n != changed {
				t.Errorf("%s: %d webhooks were written, want %d", what, n, changed)
			}
			return d
		}
		step("plain rows with a key", ring(t, "k1"), 5)
		step("the same key", ring(t, "k1"), 0)
		step("a new key", ring(t, "k2", "k1"), 5)
		step("without the old key", ring(t, "k2"), 0)
		for what, keys := range map[string]*webhook.Keyring{"old key": ring(t, "k1"), "wrong key": ring(t, "k2!"), "no key": nil} {
			if _, all := send(t, v.over(t, in, keys), in, secret, token); all != 0 {
				t.Errorf("%s: %d requests were sent", what, all)
			}
		}
		page, err := v.ListDeliveries(t.Context(), webhook.DeliveryQuery{Tenant: tenant, State: webhook.StatePending, Limit: 100})
		if err != nil || len(page.Items) != 15 {
			t.Fatalf("%d deliveries wait, want 15: %v", len(page.Items), err)
		}
		for _, del := range page.Items {
			if del.Attempts+del.Tries+del.Crashes != 0 || !del.NextAttemptAt.After(time.Now()) {
				t.Errorf("a delivery that waits: %+v", del)
			}
		}
	})
}
