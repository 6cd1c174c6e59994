package hostile

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/seed68722ecd/webhook/guard"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

func init() { otherRoles["machine"] = brokenMachine }

// A machineReport is what a sender on a broken machine makes of one webhook.
type machineReport struct {
	State, Text          string // of the delivery, and of its attempt
	Tries                int
	Fault, Kind          string // as the hook was told
	Failing, StillActive bool
}

// brokenMachine delivers one event without retries to the URL that it is given, on
// a machine on which something is missing.
func brokenMachine() error {
	var report machineReport
	ctx := context.Background()
	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{
		Guard: guard.Guard{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		Hooks: webhook.Hooks{Unsent: func(u webhook.Unsent) { report.Fault, report.Kind = u.Fault, u.Kind }},
	})
	if err != nil {
		return err
	}
	w, _, err := d.CreateWebhook(ctx, "t", webhook.WebhookSpec{Name: "a", URL: os.Args[1], Events: []string{"*"}, MaxRetries: new(0)})
	if err != nil {
		return err
	}
	if _, err := d.DeliverDue(ctx); err != nil { // what the runtime opens by itself is open
		return err
	}
	var limit syscall.Rlimit
	if os.Args[2] == "files" {
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			return err
		}
		none := limit
		none.Cur = 3
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
			return err
		}
	}
	if _, err := d.Publish(ctx, webhook.Event{Tenant: "t", Type: "x", Data: struct{}{}}); err != nil {
		return err
	}
	if _, err := d.DeliverDue(ctx); err != nil {
		return err
	}
	if w, err = d.Webhook(ctx, "t", w.ID); err != nil {
		return err
	}
	report.Failing, report.StillActive = !w.FailingSince.IsZero(), w.Active
	p, err := d.Deliveries(ctx, webhook.DeliveryQuery{Tenant: "t"})
	if err != nil {
		return err
	}
	report.State, report.Tries = string(p.Items[0].State), p.Items[0].Tries
	as, err := d.Attempts(ctx, "t", p.Items[0].ID)
	if err != nil {
		return err
	}
	report.Text = fmt.Sprintf("%s %s", as[0].Class, as[0].Error)
	return json.NewEncoder(os.Stdout).Encode(report)
}

// A machine that is out of files, has no network, no name server or no root
// certificates: real ones, each in a process of its own. None of it is the webhook's
// fault.
func TestSenderOnABrokenMachine(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	w.certificate("good", form{})
	receiver := "https://" + w.serve("-cert", "good.pem", "-key", "good.key") + "/"
	alone := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		alone.Cloneflags |= syscall.CLONE_NEWUSER
	}
	for _, row := range []struct {
		missing, url string
		env          []string
		in           *syscall.SysProcAttr
		kind, fault  string
	}{
		{"files", receiver, nil, nil, "machine", "too many open files"},
		{"network", "https://93.184.216.34/", nil, alone, "network", "no way to the Internet"},
		{"IPv6, and all else", "https://[2606:4700:4700::1111]/", nil, alone, "network", "no way to the Internet"},
		{"name server", "https://receiver.example.com/", []string{"GODEBUG=netdns=go"}, alone, "resolver", "name server cannot be asked"},
		{"roots", receiver, []string{"SSL_CERT_FILE=/dev/null", "SSL_CERT_DIR=/nonexistent"}, nil, "machine", "no root certificates"},
	} {
		t.Run(row.missing, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], row.url, row.missing)
			cmd.Env = append(append(os.Environ(), roleVar+"=machine"), row.env...)
			cmd.SysProcAttr, cmd.Stderr = row.in, os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			var got machineReport
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			if got.State != "pending" || got.Tries != 0 || got.Failing || !got.StillActive || !strings.HasPrefix(got.Text, "unsent the sender could not send") {
				t.Errorf("the customer sees %+v", got)
			}
			if got.Kind != row.kind || !strings.Contains(got.Fault, row.fault) {
				t.Errorf("the host is told %q (%s), want %q (%s)", got.Fault, got.Kind, row.fault, row.kind)
			}
		})
	}
}
