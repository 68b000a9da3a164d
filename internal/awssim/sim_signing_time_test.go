// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// signingTimeClient is an HTTP client that changes the signing time of its requests.
type signingTimeClient struct {
	world        *World
	shift        time.Duration
	lastResponse *http.Response // last response
}

func (s *signingTimeClient) Do(r *http.Request) (*http.Response, error) {
	const basic = "20060102T150405Z"
	at, err := time.Parse(basic, r.Header.Get("X-Amz-Date"))
	if err != nil {
		return nil, err
	}
	r.Header.Set("X-Amz-Date", at.Add(s.shift).Format(basic))
	s.lastResponse, err = s.world.RoundTrip(r)
	return s.lastResponse, err
}

// harmlessCalls makes one harmless call of each service.
var harmlessCalls = map[string]func(f fixture, config aws.Config) error{
	"ec2": func(f fixture, config aws.Config) error {
		_, err := ec2.NewFromConfig(config).DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{})
		return err
	},
	"sts": func(f fixture, config aws.Config) error {
		_, err := sts.NewFromConfig(config).GetCallerIdentity(f.Context(), &sts.GetCallerIdentityInput{})
		return err
	},
	"iam": func(f fixture, config aws.Config) error {
		_, err := iam.NewFromConfig(config).CreateUser(f.Context(), &iam.CreateUserInput{
			UserName: aws.String(time.Now().Format("user-150405.000000000")),
		})
		return err
	},
	"kms": func(f fixture, config aws.Config) error {
		_, err := kms.NewFromConfig(config).ListKeys(f.Context(), &kms.ListKeysInput{})
		return err
	},
	"ssm": func(f fixture, config aws.Config) error {
		_, err := ssm.NewFromConfig(config).DescribeParameters(f.Context(), &ssm.DescribeParametersInput{})
		return err
	},
}

// TestSigningTime_window covers rule 5.11. A request is refused when its signing time differs from AWS's clock by
// more than 15 minutes (EC2, STS, IAM) or 5 minutes (JSON services). The codes are RequestExpired or AuthFailure
// (EC2), SignatureDoesNotMatch (STS, IAM) and InvalidSignatureException (JSON services).
func TestSigningTime_window(t *testing.T) {
	for _, row := range []struct {
		service    string
		window     time.Duration
		code       string
		old, early string // parts of the messages
	}{
		{"ec2", 15 * time.Minute, "RequestExpired", "Request has expired.", "Request has expired."},
		{"sts", 15 * time.Minute, "SignatureDoesNotMatch", " - 15 min.)", " + 15 min.)"},
		{"iam", 15 * time.Minute, "SignatureDoesNotMatch", "Signature expired: ", "Signature not yet current: "},
		{"kms", 5 * time.Minute, "InvalidSignatureException", " is now earlier than ", " is still later than "},
		{"ssm", 5 * time.Minute, "InvalidSignatureException", " - 5 min.)", " + 5 min.)"},
	} {
		t.Run(row.service, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				call := func(later time.Duration) error {
					config := f.world.Config(owner, home)
					config.HTTPClient = &signingTimeClient{world: f.world, shift: later}
					config.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
					return harmlessCalls[row.service](f, config)
				}

				for _, inside := range []time.Duration{0, 5*time.Second - row.window, row.window - 5*time.Second} {
					if err := call(inside); err != nil {
						t.Errorf("signed %s later: %v", inside, err)
					}
				}

				requireErrorMessage(t, call(-5*time.Second-row.window), row.code, row.old)
				requireErrorMessage(t, call(row.window+5*time.Second), row.code, row.early)
			})
		})
	}
}

// TestSigningTime_presignedURL covers rule 5.11. A presigned URL is valid until the window after its expiration.
func TestSigningTime_presignedURL(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		client := sts.NewPresignClient(sts.NewFromConfig(f.world.Config(owner, home)))
		signed := requireOutput(client.PresignGetCallerIdentity(f.Context(), nil))(t)
		status := func() int {
			request, err := http.NewRequest(signed.Method, signed.URL+"&X-Amz-Expires=600", nil)
			requireNoError(request, err)(f)
			return requireOutput(f.world.RoundTrip(request))(f).StatusCode
		}
		time.Sleep(24 * time.Minute)
		expectEqual(f, "the status within the window", status(), http.StatusOK)
		time.Sleep(2 * time.Minute)
		expectEqual(f, "the status after it", status(), http.StatusForbidden)
	})
}

// TestClientSkew_isCorrectedBySDK covers rule 5.12. Every response has AWS's time, so the SDK corrects a skewed clock.
func TestClientSkew_isCorrectedBySDK(t *testing.T) {
	for _, skew := range []time.Duration{-40 * 24 * time.Hour, -20 * time.Minute, 20 * time.Minute, 40 * 24 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				WithClientSkew(skew)(f.world)
				expectEqual(f, "AWS's clock", f.world.Now(), time.Now().Add(-skew))
				line := &signingTimeClient{world: f.world}
				config := f.world.Config(owner, home)
				config.HTTPClient = line
				config.Retryer = newRetryer
				for service, call := range harmlessCalls {
					if service == "ec2" {
						continue
					}
					if err := call(f, config); err != nil {
						t.Errorf("%s: %v", service, err)
					}
					said := requireOutput(http.ParseTime(line.lastResponse.Header.Get("Date")))(t)
					if age := f.world.Now().Sub(said); age < 0 || age >= time.Second {
						t.Errorf("%s: the Date header is %s old", service, age)
					}
				}

				refusals := f.world.Records().filter(func(r Record) bool { return r.Error != "" })
				expectEqual(f, "the number of refusals", len(refusals), len(harmlessCalls)-1)

				// The SDK does not recognize RequestExpired as a skewed clock, but corrects the next call.
				client := ec2.NewFromConfig(config)
				_, err := client.DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{})
				requireErrorCode(f, err, "RequestExpired")
				requireNoError(client.DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{}))(f)
			})
		})
	}
}

// TestClientSkew_asAuthFailure covers rule 5.11. A request is refused when its signing time differs from AWS's clock
// by more than 15 minutes (EC2, STS, IAM) or 5 minutes (JSON services). The codes are RequestExpired or AuthFailure
// (EC2), SignatureDoesNotMatch (STS, IAM) and InvalidSignatureException (JSON services).
func TestClientSkew_asAuthFailure(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		WithClientSkew(time.Hour)(f.world)
		WithAuthFailureForSkew()(f.world)
		requireNoError(f.ec2.DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{}))(f)
		records := f.world.Records()
		expectEqual(f, "the number of attempts", len(records), 2)
		expectEqual(f, "the first outcome", records[0].Error, "AuthFailure")
		expectEqual(f, "the first status", records[0].Status, http.StatusUnauthorized)
	})
}

// TestBuild_ignoresSigningTime shows that no request is refused during a build, whose clock lies in the past.
func TestBuild_ignoresSigningTime(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		WithClientSkew(-time.Hour)(f.world)
		err := f.world.Build(func(builder *Builder) error {
			_, err := kms.NewFromConfig(
				builder.Config(owner, home), withoutKMSRetries,
			).CreateKey(f.Context(), &kms.CreateKeyInput{})
			return err
		})
		requireNoError(0, err)(f)
	})
}

func TestSigningTime_missing(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		for _, date := range []string{"", "yesterday"} {
			request := requireOutput(http.NewRequest(
				http.MethodPost, "https://sts.amazonaws.com/", strings.NewReader("Action=GetCallerIdentity"),
			))(t)
			request.Header.Set(
				"Authorization", "AWS4-HMAC-SHA256 Credential="+owner+"/20260203/us-east-1/sts/aws4_request, Signature=0",
			)
			request.Header.Set("X-Amz-Date", date)
			expectEqual(
				f, "the status without a date", requireOutput(f.world.RoundTrip(request))(t).StatusCode, http.StatusBadRequest,
			)
			request.Header.Del("X-Amz-Date")
			request.Header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
			request.Body = http.NoBody
		}
	})
}
