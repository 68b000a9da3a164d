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

// pointed returns options for an account that name an existing image and publish a parameter. They test the signature,
// because a run publishes only images with a valid one.
func (s *stage) pointed(account string) map[string]any {
	o := s.withExistingAMI(account)
	o["target"].([]any)[0].(map[string]any)["ssm_parameter"] = []any{map[string]any{"name": "/golden"}}
	return o
}

// stands fails the test unless the signatures prove that a run created all resources of an account.
func (s *stage) stands(account string) {
	s.Helper()
	o := s.pointed(account)
	o["mode"] = "verify"
	if _, err := s.after(s.Context(), nullBuilder, o); err != nil {
		s.Error(err)
	}
}

// late hides the signing key in one read of the image after it was written (rule 4.4.1).
type late struct {
	aws.HTTPClient
	look int

	mu    sync.Mutex
	given bool
	looks int
}

var sealTag = regexp.MustCompile(`<item><key>encrypted-ami:seal-key</key><value>[0-9a-f]*</value></item>`)

func (l *late) Do(r *http.Request) (*http.Response, error) {
	asked, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(asked))
	answer, err := l.HTTPClient.Do(r)
	if err != nil {
		return answer, err
	}
	body, _ := io.ReadAll(answer.Body)
	if l.hides(string(asked), body) {
		body = sealTag.ReplaceAll(body, nil)
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, nil
}

func (l *late) hides(asked string, body []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.given = l.given || strings.Contains(asked, "Action=CreateTags&") && strings.Contains(asked, "seal-key")
	if !l.given || !sealTag.Match(body) {
		return false
	}
	l.looks++
	return l.looks == l.look
}

func TestSigningKey_visibleLate(t *testing.T) {
	for look := 1; look <= 3; look++ {
		t.Run(fmt.Sprint(look), func(t *testing.T) {
			onStage(t, func(s *stage) {
				p := &PostProcessor{client: &late{HTTPClient: s.world, look: look}, seed: 1}
				if err := p.Configure(s.pointed(prod)); err != nil {
					s.Fatal(err)
				}
				if _, err := s.postProcess(s.Context(), p, nullBuilder); err != nil {
					s.Fatal(err)
				}
				s.stands(prod)
			})
		})
	}
}

// slow is an HTTP client that delays requests about signing keys.
type slow struct {
	aws.HTTPClient
	delay time.Duration
}

func (l slow) Do(r *http.Request) (*http.Response, error) {
	asked, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(asked))
	if strings.Contains(string(asked), "seal-key") {
		time.Sleep(l.delay)
	}
	return l.HTTPClient.Do(r)
}

// Two runs read a new image before either has given it a signing key. Both use the key that was written last.
func TestSigningKey_concurrentRuns(t *testing.T) {
	for delay := time.Duration(0); delay <= 2*time.Second; delay += 250 * time.Millisecond {
		t.Run(delay.String(), func(t *testing.T) {
			onStage(t, func(s *stage) {
				ended := make(chan error, 2)
				for i, account := range []string{prod, other} {
					p := &PostProcessor{client: slow{s.world, time.Duration(i) * delay}, seed: uint64(i + 1)}
					if err := p.Configure(s.pointed(account)); err != nil {
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
				s.stands(prod)
				s.stands(other)
			})
		})
	}
}
