// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"golang.org/x/sync/errgroup"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/awsenv"
)

const (
	source = "111111111111"
	target = "222222222222"
	other  = "333333333333"
	home   = "ap-northeast-1"
	away   = "us-west-2"
)

// The environment of whoever runs the tests has no say in them.
func TestMain(m *testing.M) { awsenv.Main(m) }

// world has a user in the source account, and in each account the role "golden", which that user and role may assume.
type world struct {
	*awssim.World
	access awsclient.Access
}

func newWorld(t *testing.T, options ...awssim.Option) *world {
	t.Helper()
	w := &world{World: awssim.New(options...)}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.Build(func(b *awssim.Builder) error {
		client := iam.NewFromConfig(b.Config(source, home))
		everything := aws.String(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}`)
		_, err := client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("builder")})
		must(err)
		_, err = client.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: aws.String("builder"), PolicyName: aws.String("rights"), PolicyDocument: everything})
		must(err)
		made, err := client.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String("builder")})
		must(err)
		w.access = awsclient.Access{Region: home, AccessKey: *made.AccessKey.AccessKeyId, SecretKey: distribution.Secret(*made.AccessKey.SecretAccessKey),
			HTTPClient: w.World, Seed: 1, Version: "1.2.3"}
		for _, account := range []string{source, target, other} {
			client := iam.NewFromConfig(b.Config(account, home))
			_, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("golden"), AssumeRolePolicyDocument: aws.String(
				`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:root"}, "Action": "sts:AssumeRole"}]}`)})
			must(err)
			_, err = client.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("golden"), PolicyName: aws.String("rights"), PolicyDocument: everything})
			must(err)
		}
		return nil
	}))
	return w
}

func (w *world) pool(t *testing.T, change ...func(*awsclient.Access)) *awsclient.Pool {
	t.Helper()
	access := w.access
	for _, c := range change {
		c(&access)
	}
	pool, err := awsclient.New(t.Context(), access)
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

// assume makes a place of a pool use the role of an account.
func assume(t *testing.T, pool *awsclient.Pool, at distribution.Location, account, from string) {
	t.Helper()
	d := distribution.Destination{At: at, Target: "prod", Roles: []distribution.Role{{RoleARN: distribution.Text("arn:aws:iam::" + account + ":role/golden")}}}
	if err := pool.Assume(t.Context(), d, from); err != nil {
		t.Fatal(err)
	}
}

func look(ctx context.Context, client *ec2.Client) error {
	_, err := client.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, MaxResults: aws.Int32(5)})
	return err
}

func TestNothingIsSentWithCredentialsOfAnotherAccount(t *testing.T) { // 5.10
	for name, account := range map[string]string{"a role": other, "no role at all": ""} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				pool, at := w.pool(t), distribution.Location{Account: target, Region: home}
				belongsTo := source
				if account != "" {
					assume(t, pool, at, account, "")
					belongsTo = account
				}
				err := look(t.Context(), pool.EC2(at))
				var wrong *awsclient.SessionError
				if !errors.As(err, &wrong) || !strings.Contains(err.Error(), target) || !strings.Contains(err.Error(), belongsTo) {
					t.Errorf("error %v, want one that names accounts %s and %s", err, target, belongsTo)
				}
				if awsclient.IsOutcomeUnknown(err) {
					t.Error("it is not clear that nothing was sent")
				}
				if calls := w.Records().Calls("ec2:*"); len(calls) != 0 {
					t.Errorf("sent nevertheless: %v", calls)
				}
			})
		})
	}
}

func TestASessionIsSharedByTheRegionsOfAnAccountAndLastsAnHour(t *testing.T) { // 5.2, 5.3
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pool := w.pool(t)
		places := []distribution.Location{{Account: target, Region: home}, {Account: target, Region: away}, {Account: other, Region: home}}
		for _, at := range places {
			assume(t, pool, at, at.Account, "")
		}
		for begun := time.Now(); time.Since(begun) < 3*time.Hour; time.Sleep(4 * time.Minute) {
			for _, at := range places {
				if err := look(t.Context(), pool.EC2(at)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := len(w.Records().Calls("sts:AssumeRole")); n != 2*4 {
			t.Errorf("%d sessions in 3 hours, want 4 for each of 2 accounts", n)
		}
		for _, r := range w.Records().Calls("ec2:*") {
			if r.Error != "" {
				t.Errorf("a call met the end of its session: %s", r.Error)
			}
		}
	})
}

func TestASessionThatAWSEndsIsRenewed(t *testing.T) { // 5.4
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pool, at := w.pool(t), distribution.Location{Account: target, Region: home}
		assume(t, pool, at, target, "")
		w.Inject(awssim.FaultRule{Fault: awssim.ExpiredSession, Action: "ec2:DescribeSnapshots", Nth: 2})
		for range 3 {
			if err := look(t.Context(), pool.EC2(at)); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(w.Records().Calls("sts:AssumeRole")); n != 2 {
			t.Errorf("%d sessions, want 2", n)
		}
	})
}

func TestHopsAndProfilesLeadToTheAccount(t *testing.T) {
	credentials := filepath.Join(t.TempDir(), "credentials")
	for _, c := range []struct {
		name   string
		access func(*awsclient.Access)
		d      distribution.Destination
		from   string
		want   string // principal
		roles  int    // calls of AssumeRole
	}{
		{"source credentials", nil, distribution.Destination{At: distribution.Location{Account: source, Region: home}}, "", "arn:aws:iam::111111111111:user/builder", 0},
		{"two hops", nil, distribution.Destination{At: distribution.Location{Account: target, Region: home}, Roles: []distribution.Role{
			{RoleARN: "arn:aws:iam::111111111111:role/golden"}, {RoleARN: "arn:aws:iam::222222222222:role/golden", SessionName: "second"}}}, "",
			"arn:aws:sts::222222222222:assumed-role/golden/second", 2},
		{"from the top-level role", func(a *awsclient.Access) {
			a.AssumeRole = []distribution.Role{{RoleARN: "arn:aws:iam::111111111111:role/golden"}}
		}, distribution.Destination{At: distribution.Location{Account: target, Region: home}, Roles: []distribution.Role{{RoleARN: "arn:aws:iam::222222222222:role/golden"}}}, "source",
			"arn:aws:sts::222222222222:assumed-role/golden/encrypted-ami", 2},
		{"from before the top-level role", func(a *awsclient.Access) {
			a.AssumeRole = []distribution.Role{{RoleARN: "arn:aws:iam::111111111111:role/golden"}}
		}, distribution.Destination{At: distribution.Location{Account: target, Region: home}, Roles: []distribution.Role{{RoleARN: "arn:aws:iam::222222222222:role/golden"}}}, awsclient.FromBase,
			"arn:aws:sts::222222222222:assumed-role/golden/encrypted-ami", 1},
		{"a profile", func(a *awsclient.Access) { a.SharedCredentialsFile = credentials },
			distribution.Destination{At: distribution.Location{Account: target, Region: home}, Profile: "prod"}, "", "arn:aws:iam::222222222222:root", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				text := fmt.Sprintf("[prod]\naws_access_key_id = %s\naws_secret_access_key = secret\n", target) // that account's root
				if err := os.WriteFile(credentials, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				var change []func(*awsclient.Access)
				if c.access != nil {
					change = append(change, c.access)
				}
				pool := w.pool(t, change...)
				if err := pool.Assume(t.Context(), c.d, c.from); err != nil {
					t.Fatal(err)
				}
				who, err := pool.Identity(t.Context(), c.d.At)
				if err != nil || who.ARN != c.want || who.Partition != "aws" {
					t.Errorf("%+v, %v, want %s", who, err, c.want)
				}
				if n := len(w.Records().Calls("sts:AssumeRole")); n != c.roles {
					t.Errorf("%d roles were assumed, want %d", n, c.roles)
				}
				if err := look(t.Context(), pool.EC2(c.d.At)); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestLongWeatherExhaustsNothing(t *testing.T) { // the SDK's own quota would end this
	for _, fault := range []awssim.Fault{awssim.Throttled, awssim.ServerError, awssim.ConnectionReset} {
		t.Run(string(fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.Inject(awssim.FaultRule{Fault: fault, Action: "ec2:DescribeSnapshots", Times: 200})
				pool := w.pool(t)
				if err := look(t.Context(), pool.EC2(distribution.Location{Account: source, Region: home})); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestMaxRetriesBoundsTheRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Inject(awssim.FaultRule{Fault: awssim.ServerError, Action: "ec2:DescribeSnapshots"})
		pool := w.pool(t, func(a *awsclient.Access) { a.MaxRetries = 2 })
		err := look(t.Context(), pool.EC2(distribution.Location{Account: source, Region: home}))
		if n := len(w.Records().Calls("ec2:DescribeSnapshots")); err == nil || n != 3 {
			t.Errorf("%d calls, error %v", n, err)
		}
	})
}

// mute answers no call of a service.
type mute struct {
	*awssim.World
	host string
}

func (m mute) Do(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Host, m.host) {
		return nil, errors.New("i/o timeout")
	}
	return m.World.Do(r)
}

// An endpoint that is out of reach, as in a network of which nobody has thought of KMS, is asked until the run ends, and named then.
func TestACallThatNothingAnswersIsNamedInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pool := w.pool(t, func(a *awsclient.Access) { a.HTTPClient = mute{w.World, "kms."} })
		over := errors.New("over")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, over)
		defer cancel()
		at := distribution.Location{Account: source, Region: home}
		if err := look(ctx, pool.EC2(at)); err != nil || pool.TimeoutError(ctx, err) != nil {
			t.Errorf("%v, %v", err, pool.TimeoutError(ctx, err))
		}
		_, err := pool.KMS(at).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/a")})
		if told := pool.TimeoutError(ctx, err); err == nil || !errors.Is(told, over) || !strings.Contains(told.Error(), "KMS DescribeKey in "+home) || !strings.Contains(told.Error(), "i/o timeout") {
			t.Errorf("%v, %v", err, told)
		}
	})
}

// Whoever waits is told for what: once, and not of what passes within a minute.
func TestACallThatNothingAnswersIsToldOnce(t *testing.T) {
	for patience, want := range map[time.Duration]int{50 * time.Second: 0, time.Hour: 1} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			var told []string
			pool := w.pool(t, func(a *awsclient.Access) {
				a.HTTPClient, a.Silent = mute{w.World, "kms."}, func(text string) { told = append(told, text) }
			})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			at := distribution.Location{Account: source, Region: home}
			for _, key := range []string{"alias/a", "alias/b"} {
				_, _ = pool.KMS(at).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &key})
			}
			if len(told) != want || want > 0 && !strings.Contains(told[0], "KMS DescribeKey in "+home) {
				t.Errorf("within %v: %q", patience, told)
			}
		})
	}
}

// Nothing can be protected without STS: it is asked for a quarter of an hour, and named then.
func TestSTSIsAskedForAQuarterOfAnHourAndNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pool := w.pool(t, func(a *awsclient.Access) { a.HTTPClient = mute{w.World, "sts."} })
		begun := time.Now()
		_, err := pool.Source(t.Context())
		if err == nil || !strings.Contains(err.Error(), "out of reach for 15m0s; by then nothing had answered STS GetCallerIdentity in "+home) || time.Since(begun) != 15*time.Minute {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
	})
}

// A certificate is as bad the next time, and nobody waits for hours to be told.
func TestACallToAnUntrustedEndpointIsNotRepeated(t *testing.T) {
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(awssim.New())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.StartTLS()
	defer server.Close()
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	pool, err := awsclient.New(t.Context(), awsclient.Access{Region: home, AccessKey: source, SecretKey: "secret", Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Source(t.Context()); err == nil || !strings.Contains(err.Error(), "failed to verify certificate") || connections.Load() != 1 {
		t.Errorf("%d connections: %v", connections.Load(), err)
	}
}

// A call without a token is repeated after a refusal, and after nothing else (1.3.12, 4.2.3).
func TestACallWithoutATokenIsRepeatedOnlyWhereAWSDidNotAct(t *testing.T) {
	for fault, want := range map[awssim.Fault]struct {
		calls   int
		unclear bool
	}{
		awssim.Throttled: {2, false}, awssim.LostResponse: {1, true}, awssim.LateError: {1, true}, awssim.TruncatedResponse: {1, true}, awssim.ConnectionReset: {1, true}, awssim.Unavailable: {1, true},
		awssim.LimitReached: {1, false},
	} {
		t.Run(string(fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.Inject(awssim.FaultRule{Fault: fault, Action: "ec2:CopySnapshot", Nth: 1})
				pool := w.pool(t)
				_, err := pool.EC2(distribution.Location{Account: source, Region: home}).CopySnapshot(t.Context(), &ec2.CopySnapshotInput{
					SourceRegion: aws.String(home), SourceSnapshotId: aws.String("snap-0123456789abcdef0"), Encrypted: aws.Bool(true), KmsKeyId: aws.String("alias/aws/ebs")})
				if awsclient.IsOutcomeUnknown(err) != want.unclear {
					t.Errorf("unclear is not %v: %v", want.unclear, err)
				}
				if n := len(w.Records().Calls("ec2:CopySnapshot")); n != want.calls {
					t.Errorf("%d calls, want %d", n, want.calls)
				}
			})
		})
	}
}

func TestCallsKeepAWSsRate(t *testing.T) { // 4.2
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pool, at := w.pool(t), distribution.Location{Account: source, Region: home}
		var group errgroup.Group
		for range 300 {
			group.Go(func() error { return look(t.Context(), pool.EC2(at)) })
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		throttled := 0
		for _, r := range w.Records().Calls("ec2:DescribeSnapshots") {
			if r.Error != "" {
				throttled++
			}
		}
		if throttled > 3 { // a call and its token meet AWS a little later
			t.Errorf("%d of 300 calls were throttled", throttled)
		}
	})
}

// agents notes the user agent of every request.
type agents struct {
	*awssim.World
	seen *string
}

func (a agents) Do(r *http.Request) (*http.Response, error) {
	*a.seen = r.UserAgent()
	return a.World.Do(r)
}

func TestTheUserAgentIsOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var seen string
		pool := w.pool(t, func(a *awsclient.Access) { a.HTTPClient = agents{w.World, &seen} })
		if err := look(t.Context(), pool.EC2(distribution.Location{Account: source, Region: home})); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(seen, "packer-plugin-encrypted-ami/1.2.3") {
			t.Errorf("user agent %q", seen)
		}
	})
}

func TestARefusalIsAFact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pool, at := w.pool(t), distribution.Location{Account: target, Region: home}
		d := distribution.Destination{At: at, Roles: []distribution.Role{{RoleARN: "arn:aws:iam::222222222222:role/nobody"}}}
		if err := pool.Assume(t.Context(), d, ""); err != nil {
			t.Fatal(err)
		}
		err := look(t.Context(), pool.EC2(at))
		got := awsclient.Refused("ec2:DescribeSnapshots", err)
		if got.Operation != "sts:AssumeRole" || got.Code != "AccessDenied" || got.Status != http.StatusForbidden || !awsclient.IsUnauthorized(err) { // 5.6
			t.Errorf("%+v", got)
		}
	})
}

// STS repeats what is not of its form (5.5). The source's own role and a target's take different ways.
func TestExternalIDsAreNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		role := distribution.Role{RoleARN: "arn:aws:iam::222222222222:role/golden", ExternalID: "hush 'hush'\n"}
		pool, at := w.pool(t), distribution.Location{Account: target, Region: home}
		if err := pool.Assume(t.Context(), distribution.Destination{At: at, Roles: []distribution.Role{role}}, ""); err != nil {
			t.Fatal(err)
		}
		_, source := w.pool(t, func(a *awsclient.Access) { a.AssumeRole = []distribution.Role{role} }).Source(t.Context())
		for name, err := range map[string]error{"source": source, "target": look(t.Context(), pool.EC2(at))} {
			refusal := awsclient.Refused("sts:AssumeRole", err)
			if refusal.Code != "ValidationError" || !strings.Contains(refusal.Message, "externalId") {
				t.Errorf("%s: %+v", name, refusal)
			}
			for _, text := range []string{err.Error(), refusal.Error()} {
				if strings.Contains(text, "hush") {
					t.Errorf("%s: %s", name, text)
				}
			}
		}
	})
}

// What only reads, or says how things shall be, is asked again for an answer that broke off (4.2.3).
func TestATornAnswerIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pool := w.pool(t)
		w.Inject(awssim.FaultRule{Fault: awssim.TruncatedResponse, Action: "ec2:DescribeSnapshots", Nth: 1})
		if err := look(t.Context(), pool.EC2(distribution.Location{Account: source, Region: home})); err != nil {
			t.Error(err)
		}
	})
}

// A call that is not repeated cannot clear itself.
func TestAnEndpointThatAnswersIsNotToldToBeSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var told []string
		pool := w.pool(t, func(a *awsclient.Access) { a.Silent = func(text string) { told = append(told, text) } })
		client := pool.EC2(distribution.Location{Account: source, Region: home})
		w.Inject(awssim.FaultRule{Fault: awssim.ConnectionReset, Action: "ec2:CopySnapshot", Nth: 1})
		w.Inject(awssim.FaultRule{Fault: awssim.ConnectionReset, Action: "ec2:DescribeSnapshots", Nth: 2})
		_, err := client.CopySnapshot(t.Context(), &ec2.CopySnapshotInput{
			SourceRegion: aws.String(home), SourceSnapshotId: aws.String("snap-0123456789abcdef0"), Encrypted: aws.Bool(true), KmsKeyId: aws.String("alias/aws/ebs")})
		if !awsclient.IsOutcomeUnknown(err) {
			t.Fatal(err)
		}
		for range 2 {
			if err := look(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		if len(told) > 0 {
			t.Errorf("told: %q", told)
		}
	})
}
