// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
)

// session returns options with the credentials of a session of the user ci, which cannot be renewed.
func (s *stage) session(accounts ...string) map[string]any {
	s.Helper()
	o := s.options(accounts...)
	maps.Copy(o, s.fixtures().Session(source, *s.key.AccessKeyId, *s.key.SecretAccessKey))
	return o
}

// The session of the source expires before any call. The image stays protected, and one error explains it. A run with
// new credentials then succeeds.
func TestResume_afterExpiredSession(t *testing.T) {
	for _, call := range []awssim.FaultRule{
		{Action: "ec2:DescribeImages", Nth: 3}, // the first two belong to the protection of the image
		{Action: "ec2:CopySnapshot"},
		{Action: "ec2:DescribeSnapshots", Nth: 5},
		{Action: "ec2:ModifySnapshotAttribute"},
		{Action: "ec2:ModifySnapshotAttribute", Nth: 2},
	} {
		t.Run(fmt.Sprint(call.Action, call.Nth), func(t *testing.T) {
			onStage(t, func(s *stage) {
				o := s.session(other, prod)
				call.Fault, call.Account = awssim.ExpiredSession, source
				s.world.Inject(call)
				_, err := s.run(s.Context(), o)
				if err == nil {
					s.Fatalf("a run whose credentials ended is a success:\n%s", s.screen)
				}
				n := strings.Count(
					err.Error(),
					"the source credentials have ended",
				) + strings.Count(
					err.Error(),
					"the source credentials cannot be used",
				)
				if n != 1 {
					s.Errorf("got the error %d times, want it once: %v", n, err)
				}
				s.safe()
				if !strings.Contains(err.Error(), "is kept and protected") {
					s.Errorf("the image is protected, and that is not reported: %v", err)
				}
				if _, err := s.after(s.Context(), nullBuilder, s.withExistingAMI(other, prod)); err != nil {
					s.Fatal(err)
				}
				if len(s.images(other)) != 1 || len(s.images(prod)) != 1 {
					s.Errorf("the targets have %d and %d images", len(s.images(other)), len(s.images(prod)))
				}
				s.tidy()
			})
		})
	}
}

// A response may break off while the run enables deregistration protection. The image is protected, and the failed run
// reports it.
func TestProtection_truncatedResponse(t *testing.T) {
	for _, operation := range []string{
		"sts:GetCallerIdentity",
		"ec2:DescribeImages",
		"ec2:CreateTags",
		"ec2:EnableImageDeregistrationProtection",
	} {
		t.Run(operation, func(t *testing.T) {
			onStage(t, func(s *stage) {
				s.closed(prod)
				s.world.Inject(awssim.FaultRule{Fault: awssim.TruncatedResponse, Action: operation, Nth: 1})
				_, err := s.run(s.Context(), s.options(prod))
				if err == nil || s.mentions("Packer deregisters it now", err) {
					s.Errorf("got %v", err)
				}
				s.safe()
			})
		})
	}
}

// A run may be canceled at any moment, even while it enables deregistration protection. The image is protected, and the
// run reports it.
func TestProtection_canceledEarly(t *testing.T) {
	for after := 20 * time.Millisecond; after <= 400*time.Millisecond; after += 20 * time.Millisecond {
		t.Run(after.String(), func(t *testing.T) {
			onStage(t, func(s *stage) {
				ctx, cancel := context.WithTimeout(s.Context(), after)
				defer cancel()
				_, err := s.run(
					ctx,
					s.options(prod),
				)
				if !s.mentions("is kept and protected", err) || s.mentions("Packer deregisters it now", err) {
					s.Errorf("got %v", err)
				}
				s.safe()
			})
		})
	}
}

// fragile panics in the goroutine of one of its calls.
type fragile struct {
	aws.HTTPClient
	calls  *atomic.Int64
	breaks int64
}

func (f fragile) Do(r *http.Request) (*http.Response, error) {
	if f.calls.Add(1) == f.breaks {
		panic("out of luck")
	}
	return f.HTTPClient.Do(r)
}

// A panic during a call fails its step. The plugin keeps running and reports it, and the image keeps its protection.
func TestPanic_atAnyCall(t *testing.T) {
	broke := 0
	for call, over := int64(1), false; !over; call++ {
		onStage(t, func(s *stage) {
			o := s.options(prod)
			p := &PostProcessor{client: fragile{s.world, new(atomic.Int64), call}, seed: 1}
			if err := p.Configure(o); err != nil {
				s.Fatal(err)
			}
			_, err := s.postProcess(s.Context(), p, "mitchellh.amazonebs")
			over = p.client.(fragile).calls.Load() < call
			if err == nil { // no panic, or one in a call that was retried or that the images do not depend on
				return
			}
			broke++
			if !s.mentions("out of luck", err) {
				s.Errorf("no report of a panic at call %d: %v", call, err)
			}
			if _, ours := s.protected(); !s.mentions("not protected", err) && !ours {
				s.Errorf("the image is not protected after a panic at call %d: %v", call, err)
			}
			// the run crashed before it signed the resource
			if _, err := s.after(
				s.Context(),
				nullBuilder,
				s.withExistingAMI(prod),
			); err != nil && !s.mentions("where that image comes from", err) {
				s.Errorf("after a panic at call %d: %v", call, err)
			}
		})
	}
	if broke == 0 {
		t.Error("no panic ended a run")
	}
}

// cancelingScreen cancels the run when it shows a text.
type cancelingScreen struct {
	*screen
	upon   string
	cancel context.CancelFunc
}

func (c cancelingScreen) Say(text string) {
	c.screen.Say(text)
	if strings.Contains(text, c.upon) {
		c.cancel()
	}
}

// behindItsProof runs the post-processor and cancels the run after its images are verified.
func (s *stage) behindItsProof() error {
	ctx, cancel := context.WithCancel(s.Context())
	p := &PostProcessor{client: s.world, seed: 1}
	if err := p.Configure(s.options(prod)); err != nil {
		s.Fatal(err)
	}
	_, _, _, err := p.PostProcess(
		ctx,
		cancelingScreen{s.screen, "done: verify", cancel},
		built("mitchellh.amazonebs", tokyo+":"+s.image, map[string]any{"PackerRunUUID": "run-1"}),
	)
	return err
}

func TestCancel_atEndOfSuccess(t *testing.T) {
	onStage(t, func(s *stage) {
		if err := s.behindItsProof(); err != nil {
			s.Fatal(err)
		}
		if protected, ours := s.protected(); protected || ours {
			s.Errorf("the source image is protected: %v, by us: %v", protected, ours)
		}
	})
}

func TestProtection_staysAfterSuccess(t *testing.T) {
	onStage(t, func(s *stage) {
		s.world.Inject(awssim.FaultRule{Fault: awssim.Unavailable, Action: "ec2:DisableImageDeregistrationProtection"})
		if err := s.behindItsProof(); err != nil {
			s.Fatal(err)
		}
		s.safe()
		if !s.mentions("Still protected from deregistration: "+s.image+" in "+tokyo, nil) ||
			!s.mentions("disable-image-deregistration-protection", nil) {
			s.Errorf("not reported:\n%s", s.screen)
		}
	})
}
