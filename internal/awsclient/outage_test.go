// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

var (
	atHome = distribution.Location{Account: source, Region: home}
	atAway = distribution.Location{Account: source, Region: away}

	atTarget = distribution.Location{Account: target, Region: home}
)

// silent is an HTTP client for which the endpoint of one service never responds.
type silent struct {
	*awssim.World
	host string
}

func (s silent) Do(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Host, s.host) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return s.World.Do(r)
}

// expectUnanswered reports an error that does not say which call AWS did not answer.
func expectUnanswered(t *testing.T, err error, operation, code string, least, most, took time.Duration) {
	t.Helper()
	refusal := awsclient.Refused(operation, err)
	if !awsclient.IsUnanswered(err) || !refusal.Unanswered || refusal.Code != code {
		t.Errorf("got %v with code %q, want a call that AWS has not answered, with code %q", err, refusal.Code, code)
	}
	if !strings.Contains(refusal.Message, "no answer for ") {
		t.Errorf("got message %q, want how long there was no answer", refusal.Message)
	}
	if took < least || took > most {
		t.Errorf("got an error after %v, want one after %v to %v", took, least, most)
	}
}

// A call that AWS does not answer ends after AnswerTimeout. The error has its operation and a code.
func TestPool_unansweredCall(t *testing.T) {
	const most = awsclient.AnswerTimeout + time.Minute
	for fault, code := range map[awssim.Fault]string{
		awssim.ConnectionReset: "",
		awssim.ServerError:     "InternalError",
		awssim.Unavailable:     "ServiceUnavailable",
		awssim.Throttled:       "RequestLimitExceeded",
	} {
		t.Run(string(fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.Inject(awssim.FaultRule{Fault: fault, Action: "ec2:DescribeSnapshots", Region: home})
				pool := w.pool(t)
				begun := time.Now()
				err := describeSnapshots(t.Context(), pool.EC2(atHome))
				expectUnanswered(t, err, "ec2:DescribeSnapshots", code, awsclient.AnswerTimeout, most, time.Since(begun))
				if err := describeSnapshots(t.Context(), pool.EC2(atAway)); err != nil {
					t.Errorf("got %v in another Region, want an answer", err)
				}
			})
		})
	}
	t.Run("silent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			pool := w.pool(t, func(a *awsclient.Access) { a.HTTPClient = silent{w.World, "ec2." + home} })
			begun := time.Now()
			err := describeSnapshots(t.Context(), pool.EC2(atHome))
			expectUnanswered(t, err, "ec2:DescribeSnapshots", "", awsclient.AnswerTimeout, most, time.Since(begun))
		})
	})
}

// After the run has given up one call, other calls to the same location are given up sooner. An answer ends the outage.
func TestPool_callsAfterOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Inject(awssim.FaultRule{Fault: awssim.ServerError, Action: "ec2:*"})
		w.Inject(awssim.FaultRule{Fault: awssim.ServerError, Action: "kms:*"})
		pool := w.pool(t)
		if err := describeSnapshots(t.Context(), pool.EC2(atHome)); !awsclient.IsUnanswered(err) {
			t.Fatalf("got %v", err)
		}
		begun := time.Now()
		_, err := pool.KMS(atHome).DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/a")})
		expectUnanswered(t, err, "kms:DescribeKey", "KMSInternalException", 0, 3*time.Minute, time.Since(begun))
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Inject(awssim.FaultRule{Fault: awssim.ServerError, Action: "ec2:DescribeSnapshots", Times: 80})
		client := w.pool(t).EC2(atHome)
		if err := describeSnapshots(t.Context(), client); !awsclient.IsUnanswered(err) {
			t.Fatalf("got %v", err)
		}
		for range 30 { // until there is an answer
			_ = describeSnapshots(t.Context(), client)
		}
		w.Inject(awssim.FaultRule{Fault: awssim.ServerError, Action: "ec2:DescribeSnapshots", Times: 5})
		if err := describeSnapshots(t.Context(), client); err != nil {
			t.Errorf("got %v, want the calls of another outage to be retried", err)
		}
	})
}

// An operation without answers is an outage, even if AWS answers other calls of the service.
func TestPool_oneOperationUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Inject(awssim.FaultRule{Fault: awssim.Throttled, Action: "ec2:DescribeVolumes"})
		client := w.pool(t).EC2(atHome)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				_ = describeSnapshots(ctx, client)
				time.Sleep(10 * time.Second)
			}
		}()
		begun := time.Now()
		_, err := client.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{})
		cancel()
		<-done
		expectUnanswered(t, err, "ec2:DescribeVolumes", "RequestLimitExceeded",
			awsclient.AnswerTimeout, awsclient.AnswerTimeout+time.Minute, time.Since(begun))
	})
}

// After the run has given up one call, the same operation is given up sooner in other accounts of the Region, but not
// in other Regions.
func TestPool_regionAfterOutage(t *testing.T) {
	begin := func(t *testing.T) *awsclient.Pool {
		w := newWorld(t)
		w.Inject(awssim.FaultRule{Fault: awssim.Unavailable, Action: "ec2:DescribeSnapshots"})
		w.Inject(awssim.FaultRule{Fault: awssim.Unavailable, Action: "ec2:DescribeVolumes"})
		pool := w.pool(t)
		assume(t, pool, atTarget, target, "")
		if err := describeSnapshots(t.Context(), pool.EC2(atTarget)); !awsclient.IsUnanswered(err) {
			t.Fatalf("got %v", err)
		}
		return pool
	}
	const code, least, most = "ServiceUnavailable", awsclient.AnswerTimeout, awsclient.AnswerTimeout + time.Minute
	synctest.Test(t, func(t *testing.T) {
		pool := begin(t)
		begun := time.Now()
		err := describeSnapshots(t.Context(), pool.EC2(atHome))
		expectUnanswered(t, err, "ec2:DescribeSnapshots", code, 0, 3*time.Minute, time.Since(begun))
	})
	synctest.Test(t, func(t *testing.T) {
		pool := begin(t)
		begun := time.Now()
		_, err := pool.EC2(atHome).DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{})
		expectUnanswered(t, err, "ec2:DescribeVolumes", code, least, most, time.Since(begun))
	})
	synctest.Test(t, func(t *testing.T) {
		pool := begin(t)
		begun := time.Now()
		err := describeSnapshots(t.Context(), pool.EC2(atAway))
		expectUnanswered(t, err, "ec2:DescribeSnapshots", code, least, most, time.Since(begun))
	})
}

// If AssumeRole gets no answer, the report names AssumeRole, not the call that needs its credentials.
func TestPool_assumeRoleUnanswered(t *testing.T) {
	for _, fault := range []awssim.Fault{awssim.Silent, awssim.ConnectionReset, awssim.Throttled} {
		t.Run(string(fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.Inject(awssim.FaultRule{Fault: fault, Action: "sts:AssumeRole"})
				var reported []awsclient.Outage
				pool := w.pool(t, func(a *awsclient.Access) {
					a.OnOutage = func(o awsclient.Outage) { reported = append(reported, o) }
				})
				assume(t, pool, atTarget, target, "")
				begun := time.Now()
				err := describeSnapshots(t.Context(), pool.EC2(atTarget))
				took := time.Since(begun)
				if limit := awsclient.AnswerTimeout + 2*time.Minute; !awsclient.IsUnanswered(err) || took > limit {
					t.Errorf("got %v after %v, want no answer within %v", err, took, limit)
				}
				if got := awsclient.Refused("ec2:DescribeSnapshots", err).Operation; got != "sts:AssumeRole" {
					t.Errorf("got an error of %s, want one of sts:AssumeRole", got)
				}
				if len(reported) == 0 || reported[0].Operation != "sts:AssumeRole" || reported[0].At != atTarget {
					t.Errorf("got reports %v, want one of sts:AssumeRole", reported)
				}
				time.Sleep(time.Hour) // until the retrieval has ended
			})
		})
	}
}

// Single errors hours apart are no outage.
func TestPool_errorsFarApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.pool(t).EC2(atHome)
		for range 4 {
			w.Inject(awssim.FaultRule{Fault: awssim.ServerError, Action: "ec2:DescribeSnapshots", Nth: 1})
			if err := describeSnapshots(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond) // ends between two attempts
			w.Inject(awssim.FaultRule{Fault: awssim.ServerError, Action: "ec2:DescribeVolumes", Nth: 1})
			_, _ = client.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{})
			cancel()
			time.Sleep(10 * time.Minute)
		}
	})
}

// A call without an answer is reported after a minute, with the time at which the run gives it up.
func TestAccess_onOutage(t *testing.T) {
	for timeout, want := range map[time.Duration]int{50 * time.Second: 0, time.Hour: 1} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			var reports, waiting []awsclient.Outage
			pool := w.pool(t, func(a *awsclient.Access) {
				a.HTTPClient = unreachable{w.World, "kms."}
				a.OnOutage = func(o awsclient.Outage) { reports = append(reports, o) }
			})
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			begun := time.Now()
			time.AfterFunc(3*time.Minute, func() { waiting = pool.Outages() })
			for _, key := range []string{"alias/a", "alias/b"} {
				_, _ = pool.KMS(atHome).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &key})
			}
			time.Sleep(4 * time.Minute)
			if len(reports) != want {
				t.Fatalf("within %v: got %d reports, want %d", timeout, len(reports), want)
			}
			if len(waiting) != want {
				t.Errorf("within %v: got %v after three minutes, want %d", timeout, waiting, want)
			}
			for _, o := range append(reports, waiting...) {
				isExpected := o.At == atHome && o.Operation == "kms:DescribeKey" && o.Until.Sub(begun) == awsclient.AnswerTimeout
				if !isExpected || !strings.Contains(o.Reason(), "i/o timeout") {
					t.Errorf("within %v: got %+v", timeout, o)
				}
			}
		})
	}
}

// GetCallerIdentity of the source credentials is retried as long as any other call.
func TestSource_unreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pool := w.pool(t, func(a *awsclient.Access) { a.HTTPClient = unreachable{w.World, "sts."} })
		begun := time.Now()
		_, err := pool.Source(t.Context())
		expectUnanswered(t, err, "sts:GetCallerIdentity", "",
			awsclient.AnswerTimeout, awsclient.AnswerTimeout+time.Minute, time.Since(begun))
	})
}

// The source credentials can be used before STS has confirmed their account.
func TestPool_withoutSTS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pool := w.pool(t, func(a *awsclient.Access) { a.HTTPClient = unreachable{w.World, "sts."} })
		begun := time.Now()
		err := describeSnapshots(t.Context(), pool.EC2(distribution.Location{Region: home}))
		if err != nil || time.Since(begun) > time.Second {
			t.Errorf("got %v after %v, want an answer at once", err, time.Since(begun))
		}
	})
}

// A call that counts against a limit of concurrent calls releases its slot while it waits for a retry.
func TestWithSlot_unanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Inject(awssim.FaultRule{Fault: awssim.ServerError, Action: "ec2:DescribeSnapshots", Times: 10})
		released, begun := time.Duration(-1), time.Now()
		ctx, release := awsclient.WithSlot(t.Context(), func() { released = time.Since(begun) })
		err := describeSnapshots(ctx, w.pool(t).EC2(atHome))
		release()
		if took := time.Since(begun); err != nil || released < 0 || released > took/2 {
			t.Errorf("got %v and the slot back after %v of %v, want it after the first attempt", err, released, took)
		}
	})
}
