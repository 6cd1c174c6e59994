package guard_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/seed68722ecd/webhook/guard"
)

// A client of the host's own is guarded by putting a Guard into its transport.
// This one may reach one network inside as well.
func ExampleGuard() {
	g := &guard.Guard{
		AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
		AllowPorts:    []int{443},
	}
	client := &http.Client{Transport: &http.Transport{DialContext: g.DialContext}}

	_, err := client.Get("http://169.254.169.254/latest/meta-data/")
	fmt.Println("port 80 blocked:", errors.Is(err, guard.ErrBlockedAddress))
	_, err = client.Get("https://[::ffff:127.0.0.1]/")
	fmt.Println("loopback blocked:", errors.Is(err, guard.ErrBlockedAddress))
	for _, address := range []string{"8.8.8.8", "10.1.2.3", "10.2.2.3"} {
		fmt.Println(address, g.Check(netip.MustParseAddr(address)))
	}
	// Output:
	// port 80 blocked: true
	// loopback blocked: true
	// 8.8.8.8 <nil>
	// 10.1.2.3 <nil>
	// 10.2.2.3 webhook: guard: blocked address: not a public address
}
