// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package benchmark

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
)

// A run apart has the plugin in one process, in virtual time, and the simulated AWS in another. Each call contains the
// virtual time of the plugin, and the simulated AWS uses it as its clock. Virtual time stops while a goroutine waits
// for a socket. So a call takes only the time that the plugin sleeps for its latency.

var socket = flag.String("socket", "", "serve the simulated AWS of -one at this path until the input ends")

// timeHeader has the virtual time of a call. measuredPath returns the figures of the run.
const (
	timeHeader   = "X-Benchmark-Time"
	measuredPath = "/benchmark/measured"
)

// prepared holds what the plugin's process must know about the simulated AWS.
type prepared struct {
	Now               time.Time
	Image, Key, Token string
}

// TestServeWorld serves the simulated AWS of a run apart.
func TestServeWorld(t *testing.T) {
	if *socket == "" {
		t.Skip("a run apart starts it")
	}
	var s scenario
	if err := json.Unmarshal([]byte(*one), &s); err != nil {
		t.Fatal(err)
	}
	cryptotest.SetGlobalRandom(t, *seed)
	clock := newRemoteClock()
	c := newCourse(s)
	world, f, err := c.newWorld(*seed, awssim.WithClock(clock.read), awssim.WithoutLatency())
	if err != nil {
		t.Fatal(err)
	}

	listener, err := net.Listen("unix", *socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc(measuredPath, func(out http.ResponseWriter, r *http.Request) {
		c.took, _ = time.ParseDuration(r.FormValue("took"))
		_ = json.NewEncoder(out).Encode(c.measured())
	})
	mux.HandleFunc("/", func(out http.ResponseWriter, r *http.Request) {
		clock.advance(r.Header.Get(timeHeader))
		world.ServeHTTP(out, r)
	})
	go func() { _ = http.Serve(listener, mux) }()

	p := prepared{clock.read(), c.image, *f.key.AccessKey.AccessKeyId, *f.key.AccessKey.SecretAccessKey}
	if err := json.NewEncoder(os.Stdout).Encode(p); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// remoteClock is the latest virtual time of a call.
type remoteClock struct {
	mu  sync.Mutex
	now time.Time
}

func newRemoteClock() *remoteClock {
	return &remoteClock{now: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)} // the start of virtual time
}

func (c *remoteClock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *remoteClock) advance(text string) {
	at, err := time.Parse(time.RFC3339Nano, text)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && at.After(c.now) {
		c.now = at
	}
}

// remoteWorld is the HTTP client through which the plugin calls the simulated AWS of another process.
type remoteWorld struct {
	socket string
	mu     sync.Mutex
	random *rand.Rand
}

// latency returns 20 to 80 ms, the latency that the simulated AWS has within one process.
func (w *remoteWorld) latency() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return 20*time.Millisecond + time.Duration(w.random.Int64N(int64(60*time.Millisecond)))
}

// Do makes a call over a connection of its own. An idle connection would stop virtual time.
func (w *remoteWorld) Do(r *http.Request) (*http.Response, error) {
	select {
	case <-time.After(w.latency()):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}

	connection, err := net.Dial("unix", w.socket)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	r.Header.Set(timeHeader, time.Now().Format(time.RFC3339Nano))
	r.Close = true
	if err := r.Write(connection); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(response.Body)
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, err
}

// runApart runs a scenario with the simulated AWS in another process.
func runApart(t *testing.T, s scenario, seed uint64) (m sample) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "aws")
	p := serveWorld(t, s, seed, path)
	cryptotest.SetGlobalRandom(t, seed)
	c := newCourse(s)
	c.image = p.Image
	f := fixture{course: &c, key: &iam.CreateAccessKeyOutput{
		AccessKey: &iamtypes.AccessKey{AccessKeyId: aws.String(p.Key), SecretAccessKey: aws.String(p.Token)},
	}}
	world := &remoteWorld{socket: path, random: rand.New(rand.NewPCG(seed, 2))}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(p.Now))
		begun := time.Now()
		if err := distribute(t.Context(), world, seed, f.options(), c.image); err != nil {
			t.Fatal(err)
		}
		c.took = time.Since(begun)
		m.RSS, m.CPU = ownUsage(t)

		query := url.Values{"took": {c.took.String()}}
		request, err := http.NewRequest(http.MethodGet, "http://aws"+measuredPath+"?"+query.Encode(), nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := world.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.NewDecoder(response.Body).Decode(&m.measured); err != nil {
			t.Fatal(err)
		}
	})
	return m
}

// ownUsage returns the peak memory and the processor time of this process.
func ownUsage(t *testing.T) (rss int64, cpu time.Duration) {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return usage.Maxrss << 10, time.Duration(usage.Utime.Nano() + usage.Stime.Nano()) // KiB on Linux
}

// serveWorld starts the process of the simulated AWS, and stops it at the end of the test.
func serveWorld(t *testing.T, s scenario, seed uint64, path string) (p prepared) {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	server := exec.Command(
		os.Args[0],
		"-test.run=^TestServeWorld$",
		"-test.timeout=0",
		"-one="+string(text),
		"-seed="+strconv.FormatUint(seed, 10),
		"-socket="+path,
	)
	server.Stderr = os.Stderr
	input, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		_, _ = io.Copy(io.Discard, output)
		_ = server.Wait()
	})
	if err := json.NewDecoder(output).Decode(&p); err != nil {
		t.Fatal(fmt.Errorf("the simulated AWS: %w", err))
	}
	return p
}

// A run with two processes has the same figures as a run in one process, and no call is lost between them.
func TestRunApart_likeInOneProcess(t *testing.T) {
	s := plain(4, 2)
	in := run(t, s, 3).measured()
	s.Apart = true
	got := runApart(t, s, 3)
	if got.ratio() > makespanLimit || got.MutatingExcess != 0 || float64(got.Calls) > 1.25*float64(in.Calls) {
		t.Errorf("got %.3f times the bound, %d calls, %d mutating ones too many or too few; in one process %.3f, %d and %d",
			got.ratio(), got.Calls, got.MutatingExcess, in.ratio(), in.Calls, in.MutatingExcess)
	}
}
