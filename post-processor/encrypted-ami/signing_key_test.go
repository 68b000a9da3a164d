// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// withParameter returns options for an account that name an existing image and publish a parameter. They test the
// signature, because a run publishes only images with a valid one.
func (s *stage) withParameter(account string) map[string]any {
	o := s.withExistingAMI(account)
	o["target"].([]any)[0].(map[string]any)["ssm_parameter"] = []any{map[string]any{"name": "/golden"}}
	return o
}

// verify fails the test unless mode = "verify" finds no difference at an account, which requires valid signatures.
func (s *stage) verify(account string) {
	s.Helper()
	o := s.withParameter(account)
	o["mode"] = "verify"
	if _, err := s.after(s.Context(), nullBuilder, o); err != nil {
		s.Error(err)
	}
}

// lateKey is an HTTP client that hides the signing key in one read of the tags after it was written (rule 4.4.1).
type lateKey struct {
	aws.HTTPClient
	read int // number of the read, from 1

	mu      sync.Mutex
	written bool
	reads   int
}

// signingKeyItem matches the tag with a signing key in a response of DescribeTags.
var signingKeyItem = regexp.MustCompile(`<item>(<resource[^/]*</resource[A-Za-z]*>)*<key>encrypted-ami:signing-key:` +
	`[^<]*</key>(<resource[^/]*</resource[A-Za-z]*>)*<value>[^<]*</value>(<resource[^/]*</resource[A-Za-z]*>)*</item>`)

func (l *lateKey) Do(r *http.Request) (*http.Response, error) {
	request, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(request))
	response, err := l.HTTPClient.Do(r)
	if err != nil {
		return response, err
	}
	body, _ := io.ReadAll(response.Body)
	if l.isHidden(string(request), body) {
		body = signingKeyItem.ReplaceAll(body, nil)
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}

// isHidden counts the reads of the signing key, and reports whether this one does not show it.
func (l *lateKey) isHidden(request string, response []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written = l.written || isSigningKeyWrite(request)
	if !l.written || !signingKeyItem.Match(response) {
		return false
	}
	l.reads++
	return l.reads == l.read
}

// isSigningKeyWrite reports whether a request writes a signing key.
func isSigningKeyWrite(request string) bool {
	return strings.Contains(request, "Action=CreateTags&") && strings.Contains(request, "signing-key")
}

func TestSigningKey_visibleLate(t *testing.T) {
	for read := 1; read <= 3; read++ {
		t.Run(fmt.Sprint(read), func(t *testing.T) {
			onStage(t, func(s *stage) {
				client := &lateKey{HTTPClient: s.world, read: read}
				p := &PostProcessor{client: client, seed: 1}
				if err := p.Configure(s.withParameter(prod)); err != nil {
					s.Fatal(err)
				}
				if _, err := s.postProcess(s.Context(), p, nullBuilder); err != nil {
					s.Fatal(err)
				}
				if client.reads < read {
					s.Errorf("the run read the key %d times, so none was hidden", client.reads)
				}
				s.verify(prod)
			})
		})
	}
}

// slowKey is an HTTP client that delays the call that writes a signing key.
type slowKey struct {
	aws.HTTPClient
	delay time.Duration
}

func (l slowKey) Do(r *http.Request) (*http.Response, error) {
	request, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(request))
	if isSigningKeyWrite(string(request)) {
		time.Sleep(l.delay)
	}
	return l.HTTPClient.Do(r)
}

// Two runs read a new image before either has written a signing key to it. Each must verify what the other one signs.
func TestSigningKey_concurrentRuns(t *testing.T) {
	for delay := time.Duration(0); delay <= 2*time.Second; delay += 250 * time.Millisecond {
		t.Run(delay.String(), func(t *testing.T) {
			onStage(t, func(s *stage) {
				ended := make(chan error, 2)
				for i, account := range []string{prod, other} {
					p := &PostProcessor{client: slowKey{s.world, time.Duration(i) * delay}, seed: uint64(i + 1)}
					if err := p.Configure(s.withParameter(account)); err != nil {
						s.Fatal(err)
					}
					go func() {
						_, _, _, err := p.PostProcess(
							s.Context(),
							s.screen,
							built(nullBuilder, "Null", map[string]any{"PackerRunUUID": fmt.Sprintf("run-%d", i)}),
						)
						ended <- err
					}()
				}
				for range 2 {
					if err := <-ended; err != nil {
						s.Error(err)
					}
				}
				s.verify(prod)
				s.verify(other)
			})
		})
	}
}
