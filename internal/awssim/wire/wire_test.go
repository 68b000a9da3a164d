// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package wire_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim/wire"
)

// services are constructors of the SDK's clients.
var services = map[string]func(aws.Config) any{
	"ec2":           func(c aws.Config) any { return ec2.NewFromConfig(c) },
	"sts":           func(c aws.Config) any { return sts.NewFromConfig(c) },
	"iam":           func(c aws.Config) any { return iam.NewFromConfig(c) },
	"kms":           func(c aws.Config) any { return kms.NewFromConfig(c) },
	"ssm":           func(c aws.Config) any { return ssm.NewFromConfig(c) },
	"organizations": func(c aws.Config) any { return organizations.NewFromConfig(c) },
}

// unsupportedOperations maps a reason to the operations of SSM that package wire does not read. None of them is
// simulated.
var unsupportedOperations = map[string][]string{
	".key is not recognized": { // members with a lowercase first letter
		"DescribeInstanceInformation", "DescribeInstanceProperties", "DescribeSessions",
		"ListAssociations", "ListCommandInvocations", "ListCommands", "ListDocuments",
	},
	"Configuration is not recognized":   {"CreateCloudConnector", "UpdateCloudConnector"}, // unions
	"ExecutionInputs is not recognized": {"StartExecutionPreview"},
	"missing required field":            {"ListNodesSummary"}, // the SDK does not send its own fixture
}

// TestWire_everyOperationRoundTrips reads every request that the SDK writes for an operation, and writes it again
// unchanged. A response with all members passes through the SDK's deserializer unchanged.
func TestWire_everyOperationRoundTrips(t *testing.T) {
	for service, client := range services {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			fixtures := filepath.Join(module(t, service), "request_snapshot")
			for operation := range operations(client(aws.Config{})) {
				fixture, err := os.ReadFile(filepath.Join(fixtures, operation+".request.snap"))
				if err != nil {
					t.Error(err)
					continue
				}

				parts := strings.SplitN(string(fixture), "\n\n", 3) // request line, header, body
				err = passThrough(service, operation, parts[2])
				for reason, operations := range unsupportedOperations {
					if service == "ssm" && slices.Contains(operations, operation) {
						if err == nil || !strings.Contains(err.Error(), reason) {
							t.Errorf("%s: got %v, want %s", operation, err, reason)
						}
						err = nil
					}
				}

				if err != nil {
					t.Errorf("%s: %v", operation, err)
				}
			}
		})
	}
}

func passThrough(service, operation, body string) error {
	r, err := wire.Parse(signed(service, operation, body))
	if err != nil {
		return err
	}

	var sent []byte
	var answer reflect.Value
	client := services[service](config(func(h *http.Request) (*http.Response, error) {
		sent, err = io.ReadAll(h.Body)
		return r.Answer("id", answer.Interface()), err
	}))

	call := reflect.ValueOf(client).MethodByName(operation)
	in := reflect.New(call.Type().In(1).Elem())
	extras, err := r.Decode(in.Interface())
	if err != nil {
		return err
	}

	answer = reflect.New(call.Type().Out(0).Elem())
	fill(answer.Elem(), nil)
	results := call.Call([]reflect.Value{reflect.ValueOf(context.Background()), in})
	if err, failed := results[1].Interface().(error); failed {
		return err
	}
	if got, want := canonical(string(sent), extras), canonical(body, nil); got != want {
		return fmt.Errorf("the SDK writes the request as\n%s\nand not as\n%s", got, want)
	}

	out := results[0]
	out.Elem().FieldByName("ResultMetadata").SetZero()
	if !reflect.DeepEqual(out.Interface(), answer.Interface()) {
		return fmt.Errorf(
			"the response changed:\n%s",
			cmp.Diff(answer.Interface(), out.Interface(), cmp.Exporter(func(reflect.Type) bool { return true })),
		)
	}

	return nil
}

// canonical returns a body with its extra parameters. JSON members are sorted, because the fixtures are sorted without
// regard to case.
func canonical(body string, extras map[string]string) string {
	var object any
	if json.Unmarshal([]byte(body), &object) == nil {
		sorted, _ := json.Marshal(object)
		return string(sorted)
	}

	if len(extras) == 0 {
		return body
	}

	form, _ := url.ParseQuery(body)
	for name, value := range extras {
		form.Set(name, value)
	}

	return form.Encode()
}

// TestEncode_emptyOutput shows that a response is never empty. The SDK would read a missing response as a success.
func TestEncode_emptyOutput(t *testing.T) {
	for service, client := range services {
		for operation := range operations(client(aws.Config{})) {
			method, _ := reflect.TypeOf(client(aws.Config{})).MethodByName(operation)
			r, err := wire.Parse(signed(service, operation, "Action="+operation))
			if err != nil {
				t.Fatal(err)
			}
			if r.Answer("id", reflect.New(method.Type.Out(0).Elem()).Interface()).ContentLength == 0 {
				t.Errorf("%s %s: empty body", service, operation)
			}
		}
	}
}

// operations iterates over the names of a client's operations.
func operations(client any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for m := range reflect.TypeOf(client).NumMethod() {
			method := reflect.TypeOf(client).Method(m)
			if method.Type.NumIn() == 4 && strings.HasSuffix(method.Type.In(2).String(), "."+method.Name+"Input") &&
				!yield(method.Name) {
				return
			}
		}
	}
}

// fill sets every member and gives every list two elements. Recursive types end at the second level.
func fill(v reflect.Value, within []reflect.Type) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Date(2026, 2, 3, 4, 5, 6, 789e6, time.UTC)))
		return
	}

	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), within)
	case reflect.Struct:
		fillStruct(v, within)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), within)
		fill(v.Index(1), within)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for _, key := range []string{"first", "second"} {
			value := reflect.New(v.Type().Elem()).Elem()
			fill(value, within)
			v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), value)
		}
	default:
		fillScalar(v)
	}
}

// fillStruct sets the members of a struct whose types do not contain themselves.
func fillStruct(v reflect.Value, within []reflect.Type) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.IsExported() && field.Name != "ResultMetadata" && !slices.Contains(within, element(field.Type)) {
			fill(v.Field(i), append(slices.Clip(within), v.Type()))
		}
	}
}

// fillScalar sets a value without parts. An enumeration gets its first value.
func fillScalar(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("text <&> \"é\"\n")
		if values := v.MethodByName("Values"); values.IsValid() {
			v.Set(values.Call(nil)[0].Index(0))
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8:
		v.SetUint(200)
	case reflect.Int32, reflect.Int64:
		v.SetInt(-1 << 31)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(1.5e-7)
	case reflect.Interface: // package wire does not support unions
	default:
		panic("no value for a " + v.Type().String())
	}
}

func element(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	return t
}

type exchange func(*http.Request) (*http.Response, error)

func (e exchange) Do(h *http.Request) (*http.Response, error) { return e(h) }

func config(do exchange) aws.Config {
	return aws.Config{
		Region:      "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "token"),
		HTTPClient:  do,
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} },
	}
}

var targets = map[string]string{"kms": "TrentService", "ssm": "AmazonSSM", "organizations": "AWSOrganizationsV20161128"}

// signed returns a request as it arrives, for its service in us-east-1.
func signed(service, operation, body string) *http.Request {
	h := &http.Request{
		Method: "POST",
		URL:    &url.URL{Path: "/"},
		Body:   io.NopCloser(strings.NewReader(body)),
		Header: http.Header{
			"Authorization": {"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260203/us-east-1/" + service +
				"/aws4_request, SignedHeaders=host, Signature=0"},
			"X-Amz-Date": {"20260203T040506Z"},
		},
	}

	if target := targets[service]; target != "" {
		h.Header.Set("X-Amz-Target", target+"."+operation)
	}

	return h
}

// module returns the directory of a service's module.
func module(t *testing.T, service string) string {
	dir, err := exec.Command(
		"go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/service/"+service,
	).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(dir))
}
