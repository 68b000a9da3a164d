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

// TestMain clears the AWS environment of the machine.
func TestMain(m *testing.M) { awsenv.Main(m) }

// world has a user in the source account and a role "golden" in each account, which that account can assume.
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
		everything := aws.String(
			`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}`,
		)
		_, err := client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("builder")})
		must(err)
		_, err = client.PutUserPolicy(
			t.Context(),
			&iam.PutUserPolicyInput{
				UserName:       aws.String("builder"),
				PolicyName:     aws.String("permissions"),
				PolicyDocument: everything,
			},
		)
		must(err)
		created, err := client.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String("builder")})
		must(err)
		w.access = awsclient.Access{
			Region:     home,
			AccessKey:  *created.AccessKey.AccessKeyId,
			SecretKey:  distribution.Secret(*created.AccessKey.SecretAccessKey),
			HTTPClient: w.World,
			Seed:       1,
			Version:    "1.2.3",
		}
		for _, account := range []string{source, target, other} {
			client := iam.NewFromConfig(b.Config(account, home))
			_, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{
				RoleName: aws.String("golden"),
				AssumeRolePolicyDocument: aws.String(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", ` +
					`"Principal": {"AWS": "arn:aws:iam::111111111111:root"}, "Action": "sts:AssumeRole"}]}`),
			})
			must(err)
			_, err = client.PutRolePolicy(
				t.Context(),
				&iam.PutRolePolicyInput{
					RoleName:       aws.String("golden"),
					PolicyName:     aws.String("permissions"),
					PolicyDocument: everything,
				},
			)
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

// assume makes the clients of a location use the role of an account.
func assume(t *testing.T, pool *awsclient.Pool, at distribution.Location, account, from string) {
	t.Helper()
	d := distribution.Destination{
		At:     at,
		Target: "prod",
		Roles:  []distribution.Role{{RoleARN: distribution.Text("arn:aws:iam::" + account + ":role/golden")}},
	}
	if err := pool.Assume(t.Context(), d, from); err != nil {
		t.Fatal(err)
	}
}

func describeSnapshots(ctx context.Context, client *ec2.Client) error {
	_, err := client.DescribeSnapshots(
		ctx,
		&ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, MaxResults: aws.Int32(5)},
	)
	return err
}

// Credentials of another account are refused before their first use (rule 5.10).
func TestPool_credentialsOfAnotherAccount(t *testing.T) {
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
				err := describeSnapshots(t.Context(), pool.EC2(at))
				var wrong *awsclient.SessionError
				if !errors.As(err, &wrong) || !strings.Contains(err.Error(), target) || !strings.Contains(err.Error(), belongsTo) {
					t.Errorf("got %v, want an error that names accounts %s and %s", err, target, belongsTo)
				}
				if awsclient.IsOutcomeUnknown(err) {
					t.Error("got an unknown outcome, want a call that was not sent")
				}
				if calls := w.Records().Calls("ec2:*"); len(calls) != 0 {
					t.Errorf("got calls %v, want none", calls)
				}
			})
		})
	}
}

// The Regions of an account share a session, which is renewed before it expires (rules 5.2 and 5.3).
func TestAssume_sharedSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pool := w.pool(t)
		locations := []distribution.Location{
			{Account: target, Region: home},
			{Account: target, Region: away},
			{Account: other, Region: home},
		}
		for _, at := range locations {
			assume(t, pool, at, at.Account, "")
		}
		for begun := time.Now(); time.Since(begun) < 3*time.Hour; time.Sleep(4 * time.Minute) {
			for _, at := range locations {
				if err := describeSnapshots(t.Context(), pool.EC2(at)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := len(w.Records().Calls("sts:AssumeRole")); n != 2*4 {
			t.Errorf("got %d sessions in 3 hours, want 4 for each of 2 accounts", n)
		}
		for _, r := range w.Records().Calls("ec2:*") {
			if r.Error != "" {
				t.Errorf("a call failed with %s", r.Error)
			}
		}
	})
}

// An expired session is renewed before the call is repeated (rule 5.4).
func TestPool_expiredSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pool, at := w.pool(t), distribution.Location{Account: target, Region: home}
		assume(t, pool, at, target, "")
		w.Inject(awssim.FaultRule{Fault: awssim.ExpiredSession, Action: "ec2:DescribeSnapshots", Nth: 2})
		for range 3 {
			if err := describeSnapshots(t.Context(), pool.EC2(at)); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(w.Records().Calls("sts:AssumeRole")); n != 2 {
			t.Errorf("got %d sessions, want 2", n)
		}
	})
}

func TestIdentity_rolesAndProfiles(t *testing.T) {
	credentials := filepath.Join(t.TempDir(), "credentials")
	inTarget := distribution.Location{Account: target, Region: home}
	assumeSourceRole := func(a *awsclient.Access) {
		a.AssumeRole = []distribution.Role{{RoleARN: "arn:aws:iam::111111111111:role/golden"}}
	}
	withTargetRole := distribution.Destination{
		At:    inTarget,
		Roles: []distribution.Role{{RoleARN: "arn:aws:iam::222222222222:role/golden"}},
	}
	for _, c := range []struct {
		name   string
		access func(*awsclient.Access)
		d      distribution.Destination
		from   string
		want   string // principal
		roles  int    // calls of AssumeRole
	}{
		{
			name: "source credentials",
			d:    distribution.Destination{At: distribution.Location{Account: source, Region: home}},
			want: "arn:aws:iam::111111111111:user/builder",
		},
		{
			name: "two roles",
			d: distribution.Destination{At: inTarget, Roles: []distribution.Role{
				{RoleARN: "arn:aws:iam::111111111111:role/golden"},
				{RoleARN: "arn:aws:iam::222222222222:role/golden", SessionName: "second"},
			}},
			want:  "arn:aws:sts::222222222222:assumed-role/golden/second",
			roles: 2,
		},
		{
			name:   "from the top-level role",
			access: assumeSourceRole,
			d:      withTargetRole,
			from:   "source",
			want:   "arn:aws:sts::222222222222:assumed-role/golden/encrypted-ami",
			roles:  2,
		},
		{
			name:   "from before the top-level role",
			access: assumeSourceRole,
			d:      withTargetRole,
			from:   awsclient.FromBase,
			want:   "arn:aws:sts::222222222222:assumed-role/golden/encrypted-ami",
			roles:  1,
		},
		{
			name:   "a profile",
			access: func(a *awsclient.Access) { a.SharedCredentialsFile = credentials },
			d:      distribution.Destination{At: inTarget, TargetOptions: distribution.TargetOptions{Profile: "prod"}},
			want:   "arn:aws:iam::222222222222:root",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				text := fmt.Sprintf(
					"[prod]\naws_access_key_id = %s\naws_secret_access_key = secret\n",
					target,
				) // root of that account
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
					t.Errorf("got %+v, %v, want %s", who, err, c.want)
				}
				if n := len(w.Records().Calls("sts:AssumeRole")); n != c.roles {
					t.Errorf("got %d calls of AssumeRole, want %d", n, c.roles)
				}
				if err := describeSnapshots(t.Context(), pool.EC2(c.d.At)); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// The retry quota of the SDK would fail these calls.
func TestRetryer_noQuota(t *testing.T) {
	for _, fault := range []awssim.Fault{awssim.Throttled, awssim.ServerError, awssim.ConnectionReset} {
		t.Run(string(fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				client := w.pool(t).EC2(distribution.Location{Account: source, Region: home})
				for range 4 {
					w.Inject(awssim.FaultRule{Fault: fault, Action: "ec2:DescribeSnapshots", Times: 50})
					if err := describeSnapshots(t.Context(), client); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

func TestAccess_maxRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Inject(awssim.FaultRule{Fault: awssim.ServerError, Action: "ec2:DescribeSnapshots"})
		pool := w.pool(t, func(a *awsclient.Access) { a.MaxRetries = 2 })
		err := describeSnapshots(t.Context(), pool.EC2(distribution.Location{Account: source, Region: home}))
		if n := len(w.Records().Calls("ec2:DescribeSnapshots")); err == nil || n != 3 {
			t.Errorf("got %d calls and error %v, want 3 calls and an error", n, err)
		}
	})
}

// unreachable is an HTTP client for which the endpoint of one service does not respond.
type unreachable struct {
	*awssim.World
	host string
}

func (u unreachable) Do(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Host, u.host) {
		return nil, errors.New("i/o timeout")
	}
	return u.World.Do(r)
}

// The error of a call that ends with the run names the call that AWS did not answer.
func TestTimeoutError_namesCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pool := w.pool(t, func(a *awsclient.Access) { a.HTTPClient = unreachable{w.World, "kms."} })
		over := errors.New("over")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Minute, over)
		defer cancel()
		at := distribution.Location{Account: source, Region: home}
		if err := describeSnapshots(ctx, pool.EC2(at)); err != nil || pool.TimeoutError(ctx, err) != nil {
			t.Errorf("%v, %v", err, pool.TimeoutError(ctx, err))
		}
		_, err := pool.KMS(at).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/a")})
		got := pool.TimeoutError(ctx, err)
		if err == nil || !errors.Is(got, over) {
			t.Errorf("got %v, %v, want the cause %v", err, got, over)
		}
		for _, part := range []string{"kms:DescribeKey in " + home, "i/o timeout"} {
			if !strings.Contains(got.Error(), part) {
				t.Errorf("got %v, want it to contain %q", got, part)
			}
		}
	})
}

// A retry does not help against an untrusted certificate, so the call fails at once.
func TestRetryer_untrustedCertificate(t *testing.T) {
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
	pool, err := awsclient.New(
		t.Context(),
		awsclient.Access{Region: home, AccessKey: source, SecretKey: "secret", Seed: 1},
	)
	if err != nil {
		t.Fatal(err)
	}
	_, err = pool.Source(t.Context())
	if err == nil || !strings.Contains(err.Error(), "failed to verify certificate") {
		t.Errorf("got %v", err)
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("got %d connections, want 1", n)
	}
}

// A call without a client token is retried only if AWS rejected it (1.3.12, 4.2.3).
func TestRetryer_noClientToken(t *testing.T) {
	for fault, want := range map[awssim.Fault]struct {
		calls   int
		unknown bool
	}{
		awssim.Throttled:         {2, false},
		awssim.LostResponse:      {1, true},
		awssim.LateError:         {1, true},
		awssim.TruncatedResponse: {1, true},
		awssim.EmptyResponse:     {1, true},
		awssim.ProxyResponse:     {1, true},
		awssim.MissingID:         {1, true},
		awssim.ConnectionReset:   {1, true},
		awssim.Unavailable:       {1, true},
		awssim.LimitReached:      {1, false},
	} {
		t.Run(string(fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.Inject(awssim.FaultRule{Fault: fault, Action: "ec2:CopySnapshot", Nth: 1})
				pool := w.pool(t)
				_, err := pool.EC2(distribution.Location{Account: source, Region: home}).
					CopySnapshot(t.Context(), &ec2.CopySnapshotInput{
						SourceRegion:     aws.String(home),
						SourceSnapshotId: aws.String("snap-0fedcba9876543210"),
						Encrypted:        aws.Bool(true),
						KmsKeyId:         aws.String("alias/aws/ebs"),
					})
				if got := awsclient.IsOutcomeUnknown(err); got != want.unknown {
					t.Errorf("got outcome unknown %t, want %t: %v", got, want.unknown, err)
				}
				if n := len(w.Records().Calls("ec2:CopySnapshot")); n != want.calls {
					t.Errorf("got %d calls, want %d", n, want.calls)
				}
			})
		})
	}
}

// Each action in an account and Region has a rate limit (rule 4.2).
func TestPool_rateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pool, at := w.pool(t), distribution.Location{Account: source, Region: home}
		var group errgroup.Group
		for range 300 {
			group.Go(func() error { return describeSnapshots(t.Context(), pool.EC2(at)) })
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
		if throttled > 3 { // latency delays calls after the limiter, so a few may exceed the rate
			t.Errorf("%d of 300 calls were throttled", throttled)
		}
	})
}

// userAgentRecorder records the user agent of the last request.
type userAgentRecorder struct {
	*awssim.World
	seen *string
}

func (a userAgentRecorder) Do(r *http.Request) (*http.Response, error) {
	*a.seen = r.UserAgent()
	return a.World.Do(r)
}

func TestPool_userAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var seen string
		pool := w.pool(t, func(a *awsclient.Access) { a.HTTPClient = userAgentRecorder{w.World, &seen} })
		if err := describeSnapshots(t.Context(), pool.EC2(distribution.Location{Account: source, Region: home})); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(seen, "packer-plugin-encrypted-ami/1.2.3") {
			t.Errorf("got user agent %q", seen)
		}
	})
}

// The refusal of AssumeRole names the role (rule 5.6).
func TestRefused_assumeRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pool, at := w.pool(t), distribution.Location{Account: target, Region: home}
		d := distribution.Destination{At: at, Roles: []distribution.Role{{RoleARN: "arn:aws:iam::222222222222:role/missing"}}}
		if err := pool.Assume(t.Context(), d, ""); err != nil {
			t.Fatal(err)
		}
		err := describeSnapshots(t.Context(), pool.EC2(at))
		got := awsclient.Refused("ec2:DescribeSnapshots", err)
		if got.Operation != "sts:AssumeRole" || got.Code != "AccessDenied" || got.Status != http.StatusForbidden {
			t.Errorf("got %+v", got)
		}
		if !awsclient.IsUnauthorized(err) {
			t.Errorf("got %v, want an error of permissions", err)
		}
	})
}

// STS quotes an invalid external ID in its error, which must not show it (rule 5.5). The roles of the source and of a
// target use different code.
func TestRefused_externalID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		role := distribution.Role{RoleARN: "arn:aws:iam::222222222222:role/golden", ExternalID: "hush 'hush'\n"}
		pool, at := w.pool(t), distribution.Location{Account: target, Region: home}
		if err := pool.Assume(
			t.Context(),
			distribution.Destination{At: at, Roles: []distribution.Role{role}},
			"",
		); err != nil {
			t.Fatal(err)
		}
		_, source := w.pool(t, func(a *awsclient.Access) { a.AssumeRole = []distribution.Role{role} }).Source(t.Context())
		for name, err := range map[string]error{"source": source, "target": describeSnapshots(t.Context(), pool.EC2(at))} {
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

// An idempotent call is retried after an incomplete response (4.2.3).
func TestRetryer_incompleteResponse(t *testing.T) {
	for _, fault := range []awssim.Fault{
		awssim.TruncatedResponse, awssim.EmptyResponse, awssim.ProxyResponse, awssim.MissingID,
	} {
		t.Run(string(fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.Inject(awssim.FaultRule{Fault: fault, Times: 2, Action: "ec2:*"})
				pool := w.pool(t)
				client := pool.EC2(distribution.Location{Account: source, Region: home})
				created, err := client.CreateVolume(t.Context(), &ec2.CreateVolumeInput{
					AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(1),
				})
				if err != nil || created.VolumeId == nil {
					t.Fatalf("got %+v, %v; want an id", created, err)
				}
				w.Inject(awssim.FaultRule{Fault: fault, Times: 2, Action: "ec2:*"})
				found, err := client.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{})
				if err != nil || len(found.Volumes) != 1 {
					t.Errorf("got %+v, %v; want one volume", found, err)
				}
			})
		})
	}
}
