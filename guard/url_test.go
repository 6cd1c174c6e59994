package guard

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed68722ecd/webhook/internal/nettest"
)

// refusedURLs demands that every URL is refused, and that no error repeats a
// password.
func refusedURLs(t *testing.T, p URLPolicy, urls ...string) {
	t.Helper()
	for _, raw := range urls {
		normalized, err := CheckURL(raw, p)
		if err == nil {
			t.Errorf("%q was accepted as %q", raw, normalized)
			continue
		}
		if normalized != "" || strings.HasPrefix(err.Error(), "url") || !utf8.ValidString(err.Error()) || len(err.Error()) > 300 {
			t.Errorf("%q: %q, %v, want nothing and an error of one readable line", raw, normalized, err)
		}
		if strings.ContainsAny(err.Error(), "\r\n\x00\x1b") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error holds what it should not: %q", raw, err)
		}
	}
}

func acceptedURLs(t *testing.T, p URLPolicy, urls map[string]string) {
	t.Helper()
	for raw, want := range urls {
		if got, err := CheckURL(raw, p); err != nil || got != want {
			t.Errorf("CheckURL(%q) = %q, %v, want %q", raw, got, err, want)
		}
	}
}

// saidOfURL demands that the error for raw holds each of the texts.
func saidOfURL(t *testing.T, p URLPolicy, raw string, texts ...string) {
	t.Helper()
	_, err := CheckURL(raw, p)
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("CheckURL(%.80q): %v, want an error with %q", raw, err, text)
		}
	}
}

func TestCheckURL_Normalizes(t *testing.T) {
	acceptedURLs(t, URLPolicy{}, map[string]string{
		"https://example.com":                              "https://example.com/",
		"https://example.com/Hook?A=b&c":                   "https://example.com/Hook?A=b&c",
		"https://example.com?token=a@b:c":                  "https://example.com/?token=a@b:c",
		"https://example.com:443/":                         "https://example.com/",
		"https://example.com:8443/x":                       "https://example.com:8443/x",
		"https://my_app.example.com/":                      "https://my_app.example.com/",
		"https://AZaz09.example.com/?s=Ā":                  "https://azaz09.example.com/?s=%C4%80",
		"https://1.1.1.1/":                                 "https://1.1.1.1/",
		"https://[2606:4700:4700::1111]:8443/x":            "https://[2606:4700:4700::1111]:8443/x",
		"https://[2606:4700:4700:0::0:1111]":               "https://[2606:4700:4700::1111]/",
		"https://[::ffff:8.8.8.8]/":                        "https://8.8.8.8/",
		"https://example.com/a%2Fb/%00?q=%23":              "https://example.com/a%2Fb/%00?q=%23",
		"https://example.com/käse?s=ü":                     "https://example.com/k%C3%A4se?s=%C3%BC",
		"https://example.com/a@b:c//d/../e":                "https://example.com/a@b:c//d/../e",
		"https://bücher.example.com/":                      "https://xn--bcher-kva.example.com/",
		"https://BÜCHER.example.com/":                      "https://xn--bcher-kva.example.com/",
		"https://xn--bcher-kva.example.com/":               "https://xn--bcher-kva.example.com/",
		"https://例え.example/":                              "https://xn--r8jz45g.example/",
		"https://0x7f.example.com/":                        "https://0x7f.example.com/",
		"https://127.0.0.1.nip.example.com/":               "https://127.0.0.1.nip.example.com/",
		"https://example.0xyz/":                            "https://example.0xyz/", // no number
		"https://example.com/" + strings.Repeat("x", 2028): "https://example.com/" + strings.Repeat("x", 2028),
	})
}

func TestS4_ZonesAreRefusedAtSave(t *testing.T) {
	refusedURLs(t, URLPolicy{}, "https://[fe80::1%25eth0]/", "https://[::1%25lo]/", "https://[fe80::1%eth0]/", "https://[::1%25%00]/",
		"https://[::1%25..]/", "https://[2606:4700::1%25eth0]/")
}

func TestS5_URLsWithoutAHost(t *testing.T) {
	p := URLPolicy{AllowHTTP: true}
	refusedURLs(t, p, "", " ", "https:", "https:/", "https://", "https:///x", "https://:443/", "https://:443", "https:opaque", "//h.example.com/p",
		"/path", "example.com", "example.com/x", "https:/example.com", "https://?x", "https://.", "https://..", "://example.com", "https//example.com")
	saidOfURL(t, p, "https://:443/", "the host is missing")
	saidOfURL(t, p, "https:///x", "the host is missing")
	saidOfURL(t, p, "", "is required")
	saidOfURL(t, p, "example.com/x", `"https://"`)
}

func TestS8_NumericHostsAreRefusedAtSave(t *testing.T) {
	for _, host := range append(numericHosts, "1.2.3.4.5", "1.2.3", "256.1.1.1", "08.8.8.8", "8.8.8.8..", "1.1.1.0x1", "1.1.1.0x") {
		refusedURLs(t, URLPolicy{}, "https://"+host+"/", "https://"+host+":443/")
	}
	saidOfURL(t, URLPolicy{}, "https://2130706433/", "2130706433", "IPv4")
	saidOfURL(t, URLPolicy{}, "https://"+strings.Repeat("9", 500)+"/", "99999…", "IPv4")
}

func TestS9_UnicodeSpellings(t *testing.T) {
	// Even on a development machine, where loopback itself is allowed, an
	// address in disguise is refused.
	dev := URLPolicy{AllowHTTP: true, Guard: &Guard{AllowNetworks: networks("127.0.0.0/8")}}
	for _, host := range unicodeAddresses {
		refusedURLs(t, URLPolicy{}, "https://"+host+"/", "https://"+host+":8443/")
		refusedURLs(t, dev, "http://"+host+"/")
	}
	for _, host := range unicodeNames {
		refusedURLs(t, URLPolicy{}, "https://"+host+"/", "https://"+host+":8443/")
	}
	refusedURLs(t, URLPolicy{}, "https://１.１.１.１/", "https://xn--/", "https://xn--.example.com/", "https://\u200d.example.com/",
		"https://a\u202eb.example.com/", "https://exa\u3000mple.com/", "https://a\ufffdb.example.com/", "https://exa\u00admple.com/", "https://example.com/\u200bx", "https://example.com/\ufeff", "https://％６５xample.com/",
		"https://example.com／@127.0.0.1/", "https://example。com＃.example.com/", "https://a：80.example.com/", "https://\xff.example.com/",
		"https://ａ＠b.example.com/", "https://⒈example.com/", "https://exa℀mple.com/", "https://[１::1]/", "https://example.com:４４３/")
	saidOfURL(t, URLPolicy{}, "https://a\u2024\u2024b.example.com/", "try its xn-- form")
	acceptedURLs(t, URLPolicy{}, map[string]string{
		"https://ＥＸＡＭＰＬＥ.com/":          "https://example.com/",
		"https://example。com/":          "https://example.com/",
		"https://pаypal.example.com/":   "https://xn--pypal-4ve.example.com/", // a Cyrillic а: shown for what it is
		"https://straße.example.com/":   "https://xn--strae-oqa.example.com/",
		"https://www.example.com。:443/": "https://www.example.com/",
	})
}

// What is stored for a Unicode host is what net/http would have dialed.
func TestS9_StoredHostIsTheDialedOne(t *testing.T) {
	for _, host := range []string{"bücher.example.com", "straße.example.com", "ＥＸＡＭＰＬＥ.com", "例え.テスト.example", "☃.example.com", "pаypal.example.com"} {
		stored, err := CheckURL("https://"+host+"/", URLPolicy{})
		if err != nil {
			t.Errorf("%q: %v", host, err)
			continue
		}
		var dialed []string
		transport := &http.Transport{DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
			dialed = append(dialed, address)
			return nil, errors.New("far enough")
		}}
		for _, u := range []string{"https://" + host + "/", stored} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u, nil)
			if err != nil {
				t.Fatal(err)
			}
			if response, err := transport.RoundTrip(request); err == nil {
				response.Body.Close()
			}
		}
		if len(dialed) != 2 || dialed[0] != dialed[1] {
			t.Errorf("%q: net/http dials %q", host, dialed)
		}
	}
}

func TestS12_UserinfoIsRefusedAndNeverRepeated(t *testing.T) {
	p := URLPolicy{AllowHTTP: true}
	refusedURLs(t, p, "https://user:hunter2@example.com/", "https://hunter2@example.com/", "https://:hunter2@example.com", "https://@example.com/",
		"https://example.com@127.0.0.1/", "https://good.com:80@10.0.0.1:443/", "https://127.0.0.1%2f@good.com/", "https://user:hunter2%zz@example.com",
		"https://user:hunter2 @example.com/", "https://u:hunter2@[::1]:80/", "https:user:hunter2@example.com/", "user:hunter2@example.com/",
		"//user:hunter2@example.com/", "hunter2://example.com", "https://u:hunter2#@example.com/", "https://u:hunter2\\@example.com/", "https://u:hunter2\n@h/",
		"https://u:p@hunter2@example.com/")
	saidOfURL(t, p, "https://user:hunter2@example.com/", "user name or password")
}

func TestS13_Ports(t *testing.T) {
	refusedURLs(t, URLPolicy{}, "https://example.com:0/", "https://example.com:65536/", "https://example.com:99999/", "https://example.com:/",
		"https://example.com:0443/", "https://example.com:08/", "https://example.com:+443/", "https://example.com:-1/", "https://example.com:443:443/", "https://example.com:https/",
		"https://example.com:4 43/", "https://example.com:99999999999999999999999/", "https://1.1.1.1:/", "https://[2606:4700::1]:/", "https://[2606:4700::1]443/")
	acceptedURLs(t, URLPolicy{}, map[string]string{
		"https://example.com:22/":    "https://example.com:22/", // allowed unless the host sets a list
		"https://example.com:65535/": "https://example.com:65535/",
		"https://example.com:1/":     "https://example.com:1/",
		"https://example.com:80/":    "https://example.com:80/",
	})
	acceptedURLs(t, URLPolicy{AllowHTTP: true}, map[string]string{
		"http://example.com:80/":  "http://example.com/",
		"http://example.com:443/": "http://example.com:443/",
	})
	list := URLPolicy{AllowHTTP: true, Guard: &Guard{AllowPorts: []int{443, 8443}}}
	refusedURLs(t, list, "https://example.com:22/", "https://example.com:25/", "https://example.com:6379/", "http://example.com/", "https://1.1.1.1:80/")
	acceptedURLs(t, list, map[string]string{"https://example.com": "https://example.com/", "https://example.com:8443": "https://example.com:8443/"})
	saidOfURL(t, URLPolicy{}, "https://example.com:0/", "port 0 is out of range 1–65535")
	saidOfURL(t, URLPolicy{}, "https://example.com:/", "a colon without a port")
	saidOfURL(t, list, "https://example.com:22/", "22", "[443 8443]")
}

func TestS14_Schemes(t *testing.T) {
	schemes := []string{"ftp://", "file://", "file:///", "unix://", "gopher://", "javascript:", "javascript://", "data:", "wss://", "ws://", "httpss://",
		"https+unix://", " https://", "https ://", "h\u017fttps://", "httpſ://", "https;//", "blob:https://", "view-source:https://"}
	for _, scheme := range schemes {
		refusedURLs(t, URLPolicy{}, scheme+"example.com/")
		refusedURLs(t, URLPolicy{AllowHTTP: true}, scheme+"example.com/")
	}
	refusedURLs(t, URLPolicy{}, "http://example.com/", "HTTP://example.com/")
	acceptedURLs(t, URLPolicy{}, map[string]string{"HTTPS://Example.COM": "https://example.com/", "hTTps://EXAMPLE.com:443": "https://example.com/"})
	acceptedURLs(t, URLPolicy{AllowHTTP: true}, map[string]string{"HTTP://Example.COM": "http://example.com/"})
	saidOfURL(t, URLPolicy{}, "http://example.com/", "plain http is not allowed", "https://")
	for _, raw := range []string{"http", "https", "ftp://example.com/", "example.com"} {
		saidOfURL(t, URLPolicy{AllowHTTP: true}, raw, `must start with "https://" or "http://"`)
		if _, err := CheckURL(raw, URLPolicy{}); err == nil || err.Error() != `must start with "https://"` {
			t.Errorf("%q: %v, want an error that offers https only", raw, err)
		}
	}
}

func TestS15_MalformedURLs(t *testing.T) {
	label63, label64 := strings.Repeat("a", 63), strings.Repeat("a", 64)
	host253 := strings.Join([]string{label63, label63, label63, label63[:61]}, ".")
	refusedURLs(t, URLPolicy{}, "https://[1.1.1.1]/", "https://[]/", "https://[::1/", "https://::1]/", "https://2606:4700::1/", "https://[v1.fe80]/",
		"https://[2606:4700::1]x/", "https://x[2606:4700::1]/", "https://[2606:4700::1]]/",
		"https://a..b/", "https://a..example.com/", "https://.a.com", "https://a.com../", "https://-a.example.com/", "https://a-.example.com/",
		"https://"+label64+".example.com/", "https://a"+host253+"/",
		"https://exam ple.com/", "https://example.com/a b", "https://example.com/a\tb", "https://example.com/\x00", "https://example.com/\r\nHost: x",
		"https://example.com\\@evil.example.com/", "https://example.com/\\x", "\thttps://example.com/", "https://example.com/\n", "https://example.com/\x7f",
		"https://example%2ecom/", "https://%31.1.1.1/", "https://example.com%00/", "https://example.com%2f/", "https://example.com%zz/",
		"https://example.com/#frag", "https://example.com#", "https://example.com/%", "https://example.com/%zz", "https://example.com/\u2028", "https://example.com/\u0085",
		"https://a`b.example.com/", "https://a{b.example.com/", "https://a[b.example.com/", "https://a,b.example.com/", "https://a*b.example.com/", "https://a!b.example.com/", "https://a'b.example.com/", "https://a;b.example.com/",
		"https://<b>.example.com/", `https://a"b.example.com/`, "https://$(id).example.com/", "https://{a}.example.com/", "https://a|b.example.com/",
		"https://example.com/"+strings.Repeat("x", 2029), "https://example.com/"+strings.Repeat("ü", 1000), "https://example.com/\xff")
	acceptedURLs(t, URLPolicy{}, map[string]string{"https://" + host253 + "./": "https://" + host253 + "/"})
	escaped := "https://example.com/" + strings.Repeat("x", 2022)
	acceptedURLs(t, URLPolicy{}, map[string]string{escaped + "ü": escaped + "%C3%BC"})
	refusedURLs(t, URLPolicy{}, escaped+"xü")
	saidOfURL(t, URLPolicy{}, "https://example.com/"+strings.Repeat("x", 2029), "2049 bytes; the limit is 2048")
	saidOfURL(t, URLPolicy{}, "https://example.com/\x00", "invisible character U+0000 at byte 20")
	saidOfURL(t, URLPolicy{}, "https://"+label64+".example.com/", "64 bytes", "63")
	saidOfURL(t, URLPolicy{}, "https://a"+host253+"/", "254 bytes", "253")
	saidOfURL(t, URLPolicy{}, "https://example.com/#frag", "fragment")
	saidOfURL(t, URLPolicy{}, "https://example.com../", "a dot too many")
	saidOfURL(t, URLPolicy{}, "https://example.com.../", "a dot too many")
	saidOfURL(t, URLPolicy{}, "https://example.com/"+strings.Repeat("ü", 1000), "escaped", "2048")
}

func TestS16_ADotAtTheEndAndCaseChangeNothing(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "localhost", "LocalHost", "metadata.google.internal", "METADATA.google.INTERNAL", "printer.local", "redis", "10.0.0.1"} {
		refusedURLs(t, URLPolicy{}, "https://"+host+"/", "https://"+host+"./", "https://"+strings.ToUpper(host)+".:8443/")
	}
	acceptedURLs(t, URLPolicy{}, map[string]string{
		"https://example.com./":     "https://example.com/",
		"https://EXAMPLE.com.:443/": "https://example.com/",
		"https://1.1.1.1./":         "https://1.1.1.1/",
	})
}

func TestS17_PrivateNames(t *testing.T) {
	private := []string{"redis", "printer.local", "db.internal", "api.svc.cluster.local", "a.home.arpa", "host.localdomain", "internal", "local"}
	loopback := []string{"localhost", "a.localhost", "A.B.LOCALHOST"}
	metadata := []string{"metadata.google.internal", "x.metadata.google.internal"}
	for _, host := range append(append(append([]string{}, private...), loopback...), metadata...) {
		refusedURLs(t, URLPolicy{}, "https://"+host+"/")
		refusedURLs(t, URLPolicy{Guard: &Guard{}}, "https://"+host+"/")
	}
	allow := func(networks ...netip.Prefix) URLPolicy {
		return URLPolicy{AllowHTTP: true, Guard: &Guard{AllowNetworks: networks}}
	}
	lo, lo6, lan := netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("10.0.0.0/8")
	for _, host := range loopback {
		for _, p := range []URLPolicy{allow(lo), allow(lo6), allow(lan, lo), allow(netip.MustParsePrefix("127.0.0.1/32"))} {
			acceptedURLs(t, p, map[string]string{"http://" + host + ":8080/x": "http://" + strings.ToLower(host) + ":8080/x"})
		}
		refusedURLs(t, allow(lan), "https://"+host+"/")
	}
	for _, host := range private {
		acceptedURLs(t, allow(lan), map[string]string{"http://" + host + "/": "http://" + host + "/"})
		refusedURLs(t, allow(lo), "https://"+host+"/")
		for _, public := range []string{"8.0.0.0/8", "::ffff:8.0.0.0/104"} { // public anyway: says nothing about names
			refusedURLs(t, allow(netip.MustParsePrefix(public)), "https://"+host+"/")
		}
		refusedURLs(t, URLPolicy{Guard: &Guard{AllowNetworks: []netip.Prefix{lan}, DenyNetworks: []netip.Prefix{lan}}}, "https://"+host+"/")
	}
	for _, host := range metadata {
		refusedURLs(t, allow(lan, lo), "https://"+host+"/")
		acceptedURLs(t, allow(netip.MustParsePrefix("169.254.169.254/32")), map[string]string{"http://" + host: "http://" + host + "/"})
	}
	acceptedURLs(t, URLPolicy{}, map[string]string{"https://localhost.example.com/": "https://localhost.example.com/", "https://internal.example.com": "https://internal.example.com/"})
}

func TestS20_LiteralAddressesGoThroughTheGuard(t *testing.T) {
	for _, text := range blockedHosts {
		addr := netip.MustParseAddr(text)
		forms := []string{"[" + mapped(addr).String() + "]"}
		if addr.Is4() {
			forms = append(forms, text, text+".")
		}
		for _, host := range forms {
			refusedURLs(t, URLPolicy{}, "https://"+host+"/", "https://"+host+":8443/")
		}
	}
	dev := URLPolicy{AllowHTTP: true, Guard: &Guard{AllowNetworks: networks("127.0.0.0/8", "::1/128")}}
	acceptedURLs(t, dev, map[string]string{
		"http://127.0.0.1:8080/":           "http://127.0.0.1:8080/",
		"http://[::1]:8080":                "http://[::1]:8080/",
		"http://localhost:8080":            "http://localhost:8080/",
		"http://[::ffff:127.0.0.1]:8080/x": "http://127.0.0.1:8080/x",
	})
	refusedURLs(t, dev, "http://10.0.0.1/", "http://169.254.169.254/latest/meta-data", "http://0.0.0.0/", "http://[::]/", "http://127.1/", "http://[fe80::1]/")
}

func FuzzCheckURL(f *testing.F) {
	for _, raw := range []string{
		"https://example.com/hook?a=b", "https://user:pw@example.com", "https://[::ffff:127.0.0.1]:443/", "https://bücher.example/ü?ü", "http://127.1/",
		"https://example.com./%2e%2e/", "HTTPS://EXAMPLE.COM:0443", "https://[fe80::1%25eth0]/", "https://xn--a.b.c/", "https://a.b/?", "https://8.8.8.8/[]|^",
	} {
		f.Add(raw, false)
	}
	for _, host := range hostile() {
		f.Add("https://"+host+":8443/x", true)
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	dns := &nettest.NameServer{Answer: func(nettest.Question) []netip.Addr { return []netip.Addr{loopback} }}
	g := &Guard{Resolver: dns.Resolver()}
	f.Fuzz(func(t *testing.T, raw string, allowHTTP bool) {
		p := URLPolicy{AllowHTTP: allowHTTP, Guard: g}
		normalized, err := CheckURL(raw, p)
		if err != nil {
			if normalized != "" || strings.HasPrefix(err.Error(), "url") || !utf8.ValidString(err.Error()) {
				t.Fatalf("%q: %q and error %q", raw, normalized, err)
			}
			return
		}
		if again, err := CheckURL(normalized, p); err != nil || again != normalized {
			t.Fatalf("%q became %q, which becomes %q, %v", raw, normalized, again, err)
		}
		for i := range len(normalized) {
			if normalized[i] <= ' ' || normalized[i] >= 0x7f {
				t.Fatalf("%q became %q, which is not printable ASCII", raw, normalized)
			}
		}
		u, err := url.Parse(normalized)
		if err != nil || len(normalized) > maxURLLength || u.User != nil || u.Fragment != "" || u.Opaque != "" || u.Hostname() == "" || !strings.HasPrefix(u.EscapedPath(), "/") {
			t.Fatalf("%q became %q: %v", raw, normalized, err)
		}
		if u.Scheme != "https" && (u.Scheme != "http" || !allowHTTP) {
			t.Fatalf("%q became %q", raw, normalized)
		}
		// Every name means 127.0.0.1; only a literal public address gets as
		// far as connecting.
		transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return g.dial(ctx, network, address, func(_ context.Context, _, address string) (net.Conn, error) {
				addr := netip.MustParseAddrPort(address).Addr()
				for _, r := range nettest.BlockedRanges {
					if netip.MustParsePrefix(r.Prefix).Contains(addr.Unmap()) {
						t.Errorf("%q was accepted and connects to %v", raw, addr)
					}
				}
				return nil, errors.New("far enough")
			})
		}}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, normalized, nil)
		if err != nil {
			t.Fatalf("%q became %q: %v", raw, normalized, err)
		}
		if response, err := transport.RoundTrip(request); err == nil {
			response.Body.Close()
			t.Fatalf("%q was answered", normalized)
		}
	})
}
