package hostile

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed68722ecd/webhook/guard"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
)

func init() {
	otherRoles["backend"] = backend
	otherRoles["internet"] = internet
}

// The addresses that the outside owns. Each is really there: listened on, and
// reachable from the backend without the guard.
var (
	// insideAddresses are one of each range that customers have no business with.
	insideAddresses = []string{
		"10.0.0.1", "100.64.0.1", "100.100.100.200", "168.63.129.16", "169.254.169.254", "169.254.170.2", "169.254.170.23", "172.16.0.1",
		"192.0.0.192", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "240.0.0.1",
		"64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001:db8::1", "2002:a9fe:a9fe::1", "3fff::1", "5f00::1", "fd00:ec2::254", "fd20:ce::254", "fec0::1", "4000::1",
	}
	// publicAddresses are the ones of honest receivers, and of the name server.
	publicAddresses = []string{"93.184.216.34", "2606:4700:4700::1111"}
	nameServerAt    = "9.9.9.9"
)

// TestS1_S6_S10_RealAddressesInNetworkNamespaces starts a backend in one network
// namespace and the world in another, joined by a cable. The world listens on the
// metadata services of all clouds, on private networks and on public addresses, and
// answers DNS. The backend is a dispatcher whose Config has a retry schedule and
// nothing else: https only, its own client, the system's resolver. Whatever its
// customers register, only the public addresses are ever connected to.
func TestS1_S6_S10_RealAddressesInNetworkNamespaces(t *testing.T) {
	for _, resolver := range []string{"go", "cgo"} {
		t.Run(resolver, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), roleVar+"=backend", "GODEBUG=netdns="+resolver)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
			if os.Getuid() != 0 {
				cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
				cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
				cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
			}
			out, err := cmd.CombinedOutput()
			if errors.Is(err, syscall.EPERM) {
				t.Fatalf("a network namespace cannot be made here (%v): run this as root, or in a container that is privileged, or allow user namespaces", err)
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}

// visitors counts connections by the address that was connected to.
type visitors struct {
	mu     sync.Mutex
	counts map[string]int
}

func (v *visitors) note(addr net.Addr) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counts[addr.(*net.TCPAddr).AddrPort().Addr().Unmap().String()]++
}

// internet is the process that owns all addresses but the backend's: it is started
// in its own namespace, waits for its end of the cable, and answers each line with
// the connections it had since the last.
func internet() error {
	lines := bufio.NewReader(os.Stdin)
	if _, err := lines.ReadString('\n'); err != nil {
		return err
	}
	if err := run("ip link set lo up", "ip link set outside up"); err != nil {
		return err
	}
	for _, addr := range slices.Concat(insideAddresses, publicAddresses, []string{nameServerAt}) {
		if err := run("ip addr add " + host(addr) + " dev outside" + map[bool]string{true: " nodad"}[strings.Contains(addr, ":")]); err != nil {
			return err
		}
	}
	if err := run("ip addr add 203.0.114.2/24 dev outside", "ip -6 addr add 2a00:1::2/64 dev outside nodad"); err != nil {
		return err
	}
	seen := &visitors{counts: make(map[string]int)}
	ca, err := loadAuthority(os.Getenv(certDirVar))
	if err != nil {
		return err
	}
	cert, err := ca.leaf([]string{"*.example.com"}, nil)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", ":443")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(redirects), TLSConfig: tlsWith(cert), ErrorLog: discardLog(), Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.SetKeepAlivesEnabled(false) // a look-up for every attempt
	go server.ServeTLS(&noting{ln, seen}, "", "")
	plain, err := net.Listen("tcp", ":80")
	if err != nil {
		return err
	}
	go http.Serve(&noting{plain, seen}, http.HandlerFunc(redirects))
	packets, err := net.ListenPacket("udp", net.JoinHostPort(nameServerAt, "53"))
	if err != nil {
		return err
	}
	go serveNames(packets)

	enc := json.NewEncoder(os.Stdout)
	for {
		seen.mu.Lock()
		err := enc.Encode(seen.counts)
		seen.counts = make(map[string]int)
		seen.mu.Unlock()
		if err != nil {
			return err
		}
		if _, err := lines.ReadString('\n'); err != nil {
			return nil
		}
	}
}

// noting is a listener that notes who was called.
type noting struct {
	net.Listener
	seen *visitors
}

func (l *noting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.seen.note(conn.LocalAddr())
	}
	return conn, err
}

// redirects answers with 200, or with a redirect to the address that the host's
// first label names: to-169-254-169-254.example.com.
func redirects(w http.ResponseWriter, r *http.Request) {
	label, _, _ := strings.Cut(r.Host, ".")
	if target, ok := strings.CutPrefix(label, "to-"); ok {
		w.Header().Set("Location", "http://"+strings.ReplaceAll(target, "-", ".")+"/latest/meta-data/")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// serveNames answers for the names that the backend's customers use.
func serveNames(packets net.PacketConn) {
	names := newNameServer()
	public := always(publicAddresses...)
	for i, addr := range insideAddresses {
		name := fmt.Sprintf("inside-%d.example.com", i)
		if strings.Contains(addr, ":") {
			names.set(name, always(addr))
			continue
		}
		names.set(name, always(addr, "::ffff:"+addr))
		names.set("to-"+strings.ReplaceAll(addr, ".", "-")+".example.com", public)
	}
	metadata := always("169.254.169.254", "fd00:ec2::254")
	turn := func(publicFirst bool) answerFunc {
		return func(n int, ipv6 bool) ([]netip.Addr, dnsmessage.RCode, bool) {
			if (n%2 == 1) == publicFirst {
				return public(n, ipv6)
			}
			return metadata(n, ipv6)
		}
	}
	names.set("good.example.com", public)
	names.set("rebind-after.example.com", turn(true))
	names.set("rebind-before.example.com", turn(false))
	names.set("mixed.example.com", always("169.254.169.254", "93.184.216.34", "fd00:ec2::254", "10.0.0.1"))
	names.set("split.example.com", always("93.184.216.34", "fd00:ec2::254"))
	buf := make([]byte, 4096)
	for {
		n, from, err := packets.ReadFrom(buf)
		if err != nil {
			return
		}
		if reply := names.reply(buf[:n]); reply != nil {
			packets.WriteTo(reply, from)
		}
	}
}

// backend is the process of the dispatcher, in a namespace of its own.
func backend() (err error) {
	world, err := joinWorld()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, world.stop()) }()

	// Without the guard each address answers: what follows would show nothing
	// otherwise.
	for _, addr := range slices.Concat(insideAddresses, publicAddresses) {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(addr, "443"), 5*time.Second)
		if err != nil {
			return fmt.Errorf("the world is not there: %w", err)
		}
		conn.Close()
	}
	counts, err := world.counts()
	if err != nil {
		return err
	}
	for _, addr := range slices.Concat(insideAddresses, publicAddresses) {
		if counts[addr] != 1 {
			return fmt.Errorf("%s had %d visitors instead of one: %v", addr, counts[addr], counts)
		}
	}

	d, err := webhook.New(memstore.New(memstore.Config{}), webhook.Config{Retry: webhook.RetryDelays{0}})
	if err != nil {
		return err
	}
	hosts := []string{"good.example.com", "rebind-after.example.com", "rebind-before.example.com", "mixed.example.com", "split.example.com"}
	refused := 0
	for i, addr := range insideAddresses {
		hosts = append(hosts, fmt.Sprintf("inside-%d.example.com", i))
		literal := addr
		if strings.Contains(addr, ":") {
			literal = "[" + addr + "]"
		} else {
			hosts = append(hosts, "to-"+strings.ReplaceAll(addr, ".", "-")+".example.com", "[::ffff:"+addr+"]", "[64:ff9b::"+addr+"]")
		}
		hosts = append(hosts, literal)
	}
	ids := make(map[string]string)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, host := range hosts {
		spec := webhook.WebhookSpec{Name: host, URL: "https://" + host + "/hook", Events: []string{"*"}, MaxRetries: new(5), Timeout: new(10 * time.Second)}
		w, _, err := d.CreateWebhook(ctx, "t", spec)
		if err != nil {
			refused++ // addresses inside are refused when saved: the first of two lines
			continue
		}
		ids[host] = w.ID
	}
	for n := range 3 {
		if _, err := d.Publish(ctx, webhook.Event{Tenant: "t", Type: "x", Data: map[string]int{"n": n}}); err != nil {
			return err
		}
		if _, err := d.DeliverDue(ctx); err != nil {
			return err
		}
	}
	if counts, err = world.counts(); err != nil {
		return err
	}
	report := fmt.Sprintf("%d hosts, %d refused when saved; connections: %v", len(hosts), refused, counts)
	for addr := range counts {
		if !slices.Contains(publicAddresses, addr) {
			err = errors.Join(err, fmt.Errorf("connected to %s", addr))
		}
	}
	// Every address as a literal, for a dispatcher in whose store it stands
	// already: the dialer is the boundary, not the check when saving.
	judge := new(guard.Guard)
	for _, addr := range insideAddresses {
		conn, dialErr := judge.DialContext(ctx, "tcp", net.JoinHostPort(addr, "443"))
		if !errors.Is(dialErr, guard.ErrBlockedAddress) {
			err = errors.Join(err, fmt.Errorf("the guard's dialer returned %v for %s", conn, addr), dialErr)
		}
	}
	err = errors.Join(err, world.judge(d, ids))
	if counts, countErr := world.counts(); countErr != nil || len(counts) > 0 {
		err = errors.Join(err, countErr, fmt.Errorf("connections by the guard's dialer: %v", counts))
	}
	_, printErr := fmt.Fprintln(os.Stdout, report)
	return errors.Join(err, printErr)
}

// A world is the process of the internet, seen from the backend.
type world struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// joinWorld sets this namespace up, starts the world in another and plugs the
// cable in.
func joinWorld() (*world, error) {
	dir, err := os.MkdirTemp("", "backend")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	resolv := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver "+nameServerAt+"\noptions timeout:2 attempts:2\n"), 0o644); err != nil {
		return nil, err
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("mounts cannot be made private: %w", err)
	}
	if err := syscall.Mount(resolv, "/etc/resolv.conf", "", syscall.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("resolv.conf cannot be replaced: %w", err)
	}
	w := &world{cmd: exec.Command(os.Args[0])}
	w.cmd.Env = append(os.Environ(), roleVar+"=internet")
	w.cmd.Stderr = os.Stderr
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	w.out = json.NewDecoder(out)
	err = run("ip link set lo up", "ip link add inside type veth peer name outside",
		"ip link set outside netns "+strconv.Itoa(w.cmd.Process.Pid), "ip link set inside up",
		"ip addr add 203.0.114.1/24 dev inside", "ip -6 addr add 2a00:1::1/64 dev inside nodad",
		"ip route add default via 203.0.114.2", "ip -6 route add default via 2a00:1::2")
	if err != nil {
		return nil, errors.Join(err, w.stop())
	}
	if _, err := w.ask(); err != nil { // the world has its addresses and listens
		return nil, errors.Join(fmt.Errorf("the world did not come up: %w", err), w.stop())
	}
	return w, nil
}

// counts returns the connections since it was asked last. A visit of its own to
// each port comes last in their queues: when those are counted, all are.
func (w *world) counts() (map[string]int, error) {
	for _, port := range []string{"80", "443"} {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(nameServerAt, port), 5*time.Second)
		if err != nil {
			return nil, err
		}
		conn.Close()
	}
	total := make(map[string]int)
	for deadline := time.Now().Add(10 * time.Second); total[nameServerAt] < 2; {
		more, err := w.ask()
		if err != nil {
			return nil, err
		}
		for addr, n := range more {
			total[addr] += n
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("connections were not accepted: %v", total)
		}
	}
	delete(total, nameServerAt)
	return total, nil
}

// ask exchanges a line with the world.
func (w *world) ask() (map[string]int, error) {
	if _, err := io.WriteString(w.in, "\n"); err != nil {
		return nil, err
	}
	var counts map[string]int
	err := w.out.Decode(&counts)
	return counts, err
}

func (w *world) stop() error {
	w.in.Close()
	return w.cmd.Wait()
}

// judge wants every delivery to say what happened: ok at public addresses, blocked
// at others, and a failure for a redirect.
func (w *world) judge(d *webhook.Dispatcher, ids map[string]string) error {
	var errs []error
	for host, id := range ids {
		page, err := d.Deliveries(context.Background(), webhook.DeliveryQuery{Tenant: "t", WebhookID: id})
		if err != nil {
			return err
		}
		if len(page.Items) != 3 {
			errs = append(errs, fmt.Errorf("%s has %d deliveries, want 3", host, len(page.Items)))
		}
		for _, delivery := range page.Items {
			state, class, status := delivery.State, delivery.LastClass, delivery.LastStatus
			var ok bool
			switch {
			case strings.HasPrefix(host, "to-"):
				ok = state == webhook.StateFailed && status == http.StatusTemporaryRedirect
			case strings.HasPrefix(host, "inside-"), strings.HasPrefix(host, "["):
				ok = state == webhook.StateFailed && class == webhook.ClassBlocked
			default:
				ok = state == webhook.StateSucceeded
			}
			if !ok {
				attempts, err := d.Attempts(context.Background(), "t", delivery.ID)
				errs = append(errs, fmt.Errorf("%s: %s, class %q, status %d, attempts %+v", host, state, class, status, attempts), err)
			}
		}
	}
	return errors.Join(errs...)
}

// host returns an address as the network of one host.
func host(addr string) string {
	a := netip.MustParseAddr(addr)
	return netip.PrefixFrom(a, a.BitLen()).String()
}

// run runs commands, given with blanks between their words.
func run(commands ...string) error {
	for _, command := range commands {
		words := strings.Fields(command)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, out)
		}
	}
	return nil
}
