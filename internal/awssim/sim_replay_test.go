// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// observationFiles hold the recorded responses of AWS. Each file states its sources and their licenses.
var observationFiles = []string{"testdata/observations.json", "testdata/observations-2.json"}

// readObservations returns the recorded cases of all files.
func readObservations(t *testing.T) (all []observation) {
	t.Helper()
	for _, name := range observationFiles {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}

		var file struct{ Cases []observation }
		if err := json.Unmarshal(text, &file); err != nil {
			t.Fatal(err)
		}
		if len(file.Cases) == 0 {
			t.Fatalf("%s has no cases", name)
		}
		all = append(all, file.Cases...)
	}

	return all
}

// TestObservations replays recorded responses of AWS, case by case, each in its own world.
func TestObservations(t *testing.T) {
	for _, one := range readObservations(t) {
		t.Run(one.ID, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { newReplay(t).run(one) })
		})
	}
}

// observation is a case: resources to create, and steps with the expected responses.
type observation struct {
	ID    string
	World struct {
		Keys      map[string]observedKey
		Snapshots map[string]observedSnapshot
		Images    map[string]observedImage
		Shares    []observedShare
		Roles     map[string]observedRole
		Defaults  []struct{ Account, Region string } `json:"ebs_encryption_by_default"`
	}
	Steps []observedStep
}

type observedKey struct {
	Account, Region, State string
	Policy                 any // "default-root" or a document
}

type observedSnapshot struct {
	Account, Region, Key, State string
	Size                        int `json:"size_gib"`
	Description                 *string
	Tags                        map[string]string
}

type observedImage struct {
	Account, Region, Root string
	Data                  map[string]string // snapshots by device
	Description           *string
	Tags                  map[string]string
	Options               map[string]any
}

type observedShare struct {
	Snapshot, Image string
	With            []string
}

type observedRole struct {
	Account, Session, Of string
	Policy               any
	SessionPolicy        any `json:"session_policy"`
}

type observedStep struct {
	As, Region, Service, Operation string
	Presign                        *bool
	Input                          map[string]any
	Save                           map[string]string
	Wait                           map[string]any
	Expect                         map[string]any
}

// accountsByName are the two accounts of the observations.
var accountsByName = map[string]string{"owner": "111111111111", "member": "999999999999"}

// recordedAt is the time of the recordings. Some of their requests contain a date.
var recordedAt = time.Date(2026, time.September, 1, 0, 0, 0, 0, time.UTC)

// replay runs a case.
type replay struct {
	*testing.T
	world    *World
	names    map[string]any
	sessions map[string]aws.CredentialsProvider // by role of the case
	// text of a number that the SDK cannot send; empty if the call has none
	unsendable string
}

func newReplay(t *testing.T) *replay {
	time.Sleep(time.Until(recordedAt))
	r := &replay{
		T:        t,
		world:    New(WithoutRule(*without)),
		names:    map[string]any{"unique": "5eed5eed"},
		sessions: map[string]aws.CredentialsProvider{},
	}
	for name, number := range accountsByName {
		r.names["account."+name] = number
	}
	return r
}

func (r *replay) run(one observation) {
	r.build(one)
	for n, step := range one.Steps {
		if found := r.step(step); len(found) > 0 {
			r.Fatalf("step %d (%s): %s", n+1, step.Operation, strings.Join(found, "; "))
		}
	}
}

// build creates the resources of the case with ordinary calls.
func (r *replay) build(one observation) {
	for _, at := range one.World.Defaults {
		r.must(at.Account, "ec2", at.Region, "EnableEbsEncryptionByDefault", nil)
	}

	for _, name := range sortedKeys(one.World.Keys) {
		r.buildKey(name, one.World.Keys[name])
	}

	for _, name := range sortedKeys(one.World.Snapshots) {
		r.buildSnapshot(name, one.World.Snapshots[name])
	}

	for _, name := range sortedKeys(one.World.Images) {
		r.buildImage(name, one.World.Images[name])
	}

	for _, share := range one.World.Shares {
		r.buildShare(one, share)
	}

	roles := sortedKeys(one.World.Roles)
	slices.SortStableFunc(roles, func(a, b string) int { return len(one.World.Roles[a].Of) - len(one.World.Roles[b].Of) })
	for _, name := range roles {
		r.buildRole(name, one.World.Roles[name])
	}

	for _, name := range roles {
		r.assume(name, one.World.Roles[name])
	}
}

func (r *replay) buildKey(name string, key observedKey) {
	in := map[string]any{"Description": name}
	if key.Policy != "default-root" {
		in["Policy"] = r.document(key.Policy)
	}

	created := r.must(key.Account, "kms", key.Region, "CreateKey", in)
	r.names["key."+name+".arn"] = lookupPath(created, "KeyMetadata.Arn")
	r.names["key."+name+".id"] = lookupPath(created, "KeyMetadata.KeyId")
	if key.State == "Disabled" {
		r.must(key.Account, "kms", key.Region, "DisableKey", map[string]any{
			"KeyId": lookupPath(created, "KeyMetadata.KeyId"),
		})
	}
}

func (r *replay) buildSnapshot(name string, s observedSnapshot) {
	in := map[string]any{"AvailabilityZone": s.Region + "a", "Size": float64(s.Size)}
	if s.Key != "" {
		in["Encrypted"] = true
	}
	if s.Key != "" && s.Key != "aws/ebs" {
		in["KmsKeyId"] = r.names["key."+s.Key+".arn"]
	}

	volume := lookupPath(r.must(s.Account, "ec2", s.Region, "CreateVolume", in), "VolumeId").(string)
	r.waitForState(s.Account, s.Region, "volume", volume, "available")
	created := lookupPath(
		r.must(
			s.Account, "ec2", s.Region, "CreateSnapshot",
			described("snapshot", s.Description, s.Tags, map[string]any{"VolumeId": volume}),
		),
		"SnapshotId",
	).(string)

	if s.State != "pending" {
		r.waitForState(s.Account, s.Region, "snapshot", created, "completed")
	}

	r.names["snapshot."+name] = created
}

func (r *replay) buildImage(name string, i observedImage) {
	devices := map[string]string{"/dev/sda1": i.Root}
	maps.Copy(devices, i.Data)
	var mappings []any
	for _, device := range sortedKeys(devices) {
		mappings = append(mappings, map[string]any{
			"DeviceName": device, "Ebs": map[string]any{"SnapshotId": r.names["snapshot."+devices[device]]},
		})
	}

	in := described("image", i.Description, i.Tags, map[string]any{
		"Name": name +
			"-5eed5eed", "Architecture": "x86_64", "VirtualizationType": "hvm", "RootDeviceName": "/dev/sda1",
		"BlockDeviceMappings": mappings,
	})

	maps.Copy(in, i.Options)
	created := lookupPath(r.must(i.Account, "ec2", i.Region, "RegisterImage", in), "ImageId").(string)
	r.waitForState(i.Account, i.Region, "image", created, "available")
	r.names["image."+name] = created
}

func described(kind string, description *string, tags map[string]string, in map[string]any) map[string]any {
	if description != nil {
		in["Description"] = *description
	}
	if len(tags) > 0 {
		var list []any
		for _, key := range sortedKeys(tags) {
			list = append(list, map[string]any{"Key": key, "Value": tags[key]})
		}
		in["TagSpecifications"] = []any{map[string]any{"ResourceType": kind, "Tags": list}}
	}
	return in
}

func (r *replay) buildShare(one observation, share observedShare) {
	var users []any
	for _, name := range share.With {
		users = append(users, map[string]any{"UserId": accountsByName[name]})
	}

	add := map[string]any{"Add": users}
	if share.Snapshot != "" {
		s := one.World.Snapshots[share.Snapshot]
		r.must(s.Account, "ec2", s.Region, "ModifySnapshotAttribute", map[string]any{
			"SnapshotId": r.names["snapshot."+share.Snapshot], "CreateVolumePermission": add,
		})
		return
	}

	i := one.World.Images[share.Image]
	r.must(i.Account, "ec2", i.Region, "ModifyImageAttribute", map[string]any{
		"ImageId": r.names["image."+share.Image], "LaunchPermission": add,
	})
}

func (r *replay) buildRole(name string, role observedRole) {
	number, created, session := accountsByName[role.Account], name, role.Session
	if role.Of != "" {
		created = r.names["role."+role.Of+".name"].(string)
	}
	if session == "" {
		session = name
	}

	r.names["role."+name+".name"] = created
	r.names["role."+name+".arn"] = "arn:aws:iam::" + number + ":role/" + created
	r.names["role."+name+".session_arn"] = "arn:aws:sts::" + number + ":assumed-role/" + created + "/" + session
	if role.Of != "" {
		return
	}

	trust := map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
		"Effect": "Allow", "Principal": map[string]any{"AWS": "arn:aws:iam::" + number + ":root"}, "Action": "sts:AssumeRole",
	}}}

	r.must(role.Account, "iam", "us-east-1", "CreateRole", map[string]any{
		"RoleName": created, "AssumeRolePolicyDocument": r.document(trust),
	})

	r.must(role.Account, "iam", "us-east-1", "PutRolePolicy", map[string]any{
		"RoleName": created, "PolicyName": "case", "PolicyDocument": r.document(role.Policy),
	})
}

// assume creates a session as a user who may assume every role. AWS does not let a root user assume a role.
func (r *replay) assume(name string, role observedRole) {
	user := "user:" + role.Account
	session, in := role.Session, map[string]any{"RoleArn": r.names["role."+name+".arn"]}
	if session == "" {
		session = name
	}

	in["RoleSessionName"] = session
	if role.SessionPolicy != nil {
		in["Policy"] = r.document(role.SessionPolicy)
	}

	created := r.must(user, "sts", "us-east-1", "AssumeRole", in)
	part := func(name string) string { return lookupPath(created, "Credentials."+name).(string) }
	r.sessions["role:"+name] = credentials.NewStaticCredentialsProvider(
		part("AccessKeyId"), part("SecretAccessKey"), part("SessionToken"),
	)
}

// createUser creates the user of an account who may assume every role, and returns the user's access key.
func (r *replay) createUser(account string) aws.CredentialsProvider {
	r.must(account, "iam", "us-east-1", "CreateUser", map[string]any{"UserName": "caller"})
	everyRole := map[string]any{
		"Version":   "2012-10-17",
		"Statement": []any{map[string]any{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}},
	}
	r.must(account, "iam", "us-east-1", "PutUserPolicy", map[string]any{
		"UserName": "caller", "PolicyName": "case", "PolicyDocument": r.document(everyRole),
	})

	created := r.must(account, "iam", "us-east-1", "CreateAccessKey", map[string]any{"UserName": "caller"})
	return credentials.NewStaticCredentialsProvider(
		lookupPath(created, "AccessKey.AccessKeyId").(string), lookupPath(created, "AccessKey.SecretAccessKey").(string), "",
	)
}

func (r *replay) document(policy any) string {
	text, err := json.Marshal(r.resolvePlaceholders(policy))
	if err != nil {
		r.Fatal(err)
	}
	return string(text)
}

// step runs a step and returns the differences from its expectation.
func (r *replay) step(step observedStep) []string {
	if step.Wait != nil {
		for kind := range waitable {
			if id, ok := step.Wait[kind]; ok {
				var until []string
				for _, state := range step.Wait["until"].([]any) {
					until = append(until, state.(string))
				}
				return differences(
					r.resolvePlaceholders(step.Expect),
					r.waitForState(step.As, step.Region, kind, r.resolvePlaceholders(id).(string), until...), "",
				)
			}
		}
		r.Fatalf("nothing to wait for: %v", step.Wait)
	}

	got := r.call(
		step.As, step.Service, step.Region, step.Operation, r.resolvePlaceholders(step.Input).(map[string]any),
		step.Presign == nil || *step.Presign,
	)

	for name, path := range step.Save {
		if value := lookupPath(got.output, path); value != nil {
			r.names[name] = value
		}
	}

	expect := r.resolvePlaceholders(step.Expect).(map[string]any)
	found := differences(expect["http_status"], float64(got.status), "http_status")
	var code any // null for success
	if got.code != "" {
		code = got.code
	}
	if different := differences(expect["code"], code, "code"); len(different) > 0 {
		found = append(append(found, different...), "message is "+got.message)
	}
	if message, ok := expect["message"]; ok && message != got.message {
		found = append(found, fmt.Sprintf("message expected %q, is %q", message, got.message))
	}
	if part, ok := expect["message_contains"]; ok && !strings.Contains(got.message, part.(string)) {
		found = append(found, fmt.Sprintf("message expected to contain %q, is %q", part, got.message))
	}
	if output, ok := expect["output"]; ok {
		found = append(found, differences(output, got.output, "")...)
	}

	return found
}

// waitable maps kinds of resources to the call that describes them and the path of their state.
var waitable = map[string]struct{ operation, ids, where, state string }{
	"snapshot": {"DescribeSnapshots", "SnapshotIds", "Snapshots.0", "State"},
	"volume":   {"DescribeVolumes", "VolumeIds", "Volumes.0", "State"},
	"image":    {"DescribeImages", "ImageIds", "Images.0", "State"},
	"instance": {"DescribeInstances", "InstanceIds", "Reservations.0.Instances.0", "State.Name"},
}

// waitForState waits until a resource is in one of the states. "not-found" means that it has disappeared.
func (r *replay) waitForState(as, region, kind, id string, until ...string) map[string]any {
	how := waitable[kind]
	for deadline := time.Now().Add(3 * time.Hour); time.Now().Before(deadline); time.Sleep(5 * time.Second) {
		got := r.call(as, "ec2", region, how.operation, map[string]any{how.ids: []any{id}}, true)
		if got.code != "" {
			if strings.Contains(got.code, "NotFound") && slices.Contains(until, "not-found") {
				return map[string]any{"State": "not-found", "code": got.code}
			}
			r.Fatalf("%s gives %s: %s", how.operation, got.code, got.message)
		}
		item, _ := lookupPath(got.output, how.where).(map[string]any)
		if state, _ := lookupPath(item, how.state).(string); slices.Contains(until, state) {
			return item
		}
	}

	r.Fatalf("%s %s is not %v", kind, id, until)
	return nil
}

var placeholder = regexp.MustCompile(`\$\{([^}]+)\}`)

// resolvePlaceholders replaces the placeholders in a value. A placeholder that is the whole text keeps its type.
func (r *replay) resolvePlaceholders(value any) any {
	switch value := value.(type) {
	case map[string]any:
		if times, ok := value["$times"]; ok {
			return slices.Repeat([]any{r.resolvePlaceholders(value["$repeat"])}, int(times.(float64)))
		}
		filled := map[string]any{}
		for name, item := range value {
			filled[name] = r.resolvePlaceholders(item)
		}
		return filled
	case []any:
		filled := []any{}
		for _, item := range value {
			filled = append(filled, r.resolvePlaceholders(item))
		}
		return filled
	case string:
		if whole := placeholder.FindString(value); whole != "" && whole == value {
			return r.lookup(whole)
		}
		return placeholder.ReplaceAllStringFunc(value, func(found string) string { return fmt.Sprint(r.lookup(found)) })
	}

	return value
}

func (r *replay) lookup(found string) any {
	name := found[2 : len(found)-1]
	if text, ok := strings.CutPrefix(name, "bytes:"); ok {
		return []byte(text)
	}

	if where, ok := strings.CutPrefix(name, "managed_key."); ok {
		account, region, _ := strings.Cut(where, ".")
		return lookupPath(
			r.must(account, "kms", region, "DescribeKey", map[string]any{"KeyId": "alias/aws/ebs"}), "KeyMetadata.Arn",
		)
	}

	value, ok := r.names[name]
	if !ok {
		r.Fatalf("nothing is named %s", name)
	}

	return value
}

// answer is a response, with the output as maps, lists, strings and numbers.
type answer struct {
	status        int
	code, message string
	output        map[string]any
}

// must makes a call that must succeed.
func (r *replay) must(as, service, region, operation string, in map[string]any) map[string]any {
	r.Helper()
	got := r.call(as, service, region, operation, in, true)
	if got.code != "" {
		r.Fatalf("world: %s gives %d %s: %s", operation, got.status, got.code, got.message)
	}
	return got.output
}

// call sends a request whose input is given by member names of the SDK. The SDK does not validate it.
func (r *replay) call(as, service, region, operation string, in map[string]any, presign bool) answer {
	r.Helper()
	config := r.world.Config(accountsByName[as], region)
	config.Credentials = r.credentials(as)
	config.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	config.APIOptions = append(config.APIOptions, func(stack *middleware.Stack) error {
		_, _ = stack.Initialize.Remove("OperationInputValidation") // absent if no member is required
		if !presign {
			_, _ = stack.Initialize.Remove("Presign")
		}
		if r.unsendable != "" {
			return r.sendNumberAsText(stack)
		}
		return nil
	})

	clients := map[string]any{
		"ec2": ec2.NewFromConfig(config), "kms": kms.NewFromConfig(config), "sts": sts.NewFromConfig(config),
		"iam": iam.NewFromConfig(config), "ssm": ssm.NewFromConfig(config),
		"organizations": organizations.NewFromConfig(config),
	}

	method := reflect.ValueOf(clients[service]).MethodByName(operation)
	if !method.IsValid() {
		r.Fatalf("%s has no operation %s", service, operation)
	}

	r.unsendable = ""
	input := reflect.New(method.Type().In(1).Elem())
	r.setFields(in, input.Elem(), operation)
	results := method.Call([]reflect.Value{reflect.ValueOf(context.Background()), input})
	if err, failed := results[1].Interface().(error); failed {
		var refusal smithy.APIError
		var response *smithyhttp.ResponseError
		if !errors.As(err, &refusal) || !errors.As(err, &response) {
			r.Fatalf("%s: no usable answer: %v", operation, err)
		}
		return answer{status: response.HTTPStatusCode(), code: refusal.ErrorCode(), message: refusal.ErrorMessage()}
	}

	out := results[0].Elem()
	raw := awsmiddleware.GetRawResponse(out.FieldByName("ResultMetadata").Interface().(middleware.Metadata))
	return answer{status: raw.(*smithyhttp.Response).StatusCode, output: toPlain(out).(map[string]any)}
}

// credentials returns the credentials of an account's root user, a user or a role session.
func (r *replay) credentials(as string) aws.CredentialsProvider {
	if number, root := accountsByName[as]; root {
		return credentials.NewStaticCredentialsProvider(number, "secret", "")
	}
	if account, isUser := strings.CutPrefix(as, "user:"); isUser && r.sessions[as] == nil {
		r.sessions[as] = r.createUser(account)
	}
	return r.sessions[as]
}

// setFields sets an input from plain values by member names.
func (r *replay) setFields(from any, into reflect.Value, path string) {
	r.Helper()
	switch {
	case from == nil:
	case into.Kind() == reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		r.setFields(from, into.Elem(), path)
	case into.Type() == reflect.TypeFor[time.Time]():
		r.setTime(from, into, path)
	case into.Kind() == reflect.Struct:
		r.setMembers(from.(map[string]any), into, path)
	case into.Kind() == reflect.Map:
		into.Set(reflect.MakeMap(into.Type()))
		for name, value := range from.(map[string]any) {
			item := reflect.New(into.Type().Elem()).Elem()
			r.setFields(value, item, path+"."+name)
			into.SetMapIndex(reflect.ValueOf(name).Convert(into.Type().Key()), item)
		}
	case into.Kind() == reflect.Slice && into.Type().Elem().Kind() == reflect.Uint8:
		setBytes(from, into)
	case into.Kind() == reflect.Slice:
		list := from.([]any)
		into.Set(reflect.MakeSlice(into.Type(), len(list), len(list)))
		for n, value := range list {
			r.setFields(value, into.Index(n), path+"."+strconv.Itoa(n))
		}
	case into.Kind() == reflect.String:
		into.SetString(from.(string))
	case into.Kind() == reflect.Bool:
		into.SetBool(from.(bool))
	case into.CanInt():
		r.setNumber(from, into, path)
	default:
		r.Fatalf("%s: cannot hold %v", path, from)
	}
}

// setBytes sets bytes, which a recorded request holds as bytes or as text.
func setBytes(from any, into reflect.Value) {
	switch from := from.(type) {
	case []byte:
		into.SetBytes(from)
	case string:
		into.SetBytes([]byte(from))
	}
}

func (r *replay) setTime(from any, into reflect.Value, path string) {
	r.Helper()
	when, err := time.Parse(time.RFC3339, fmt.Sprint(from))
	if err != nil {
		r.Fatalf("%s: %v", path, err)
	}
	into.Set(reflect.ValueOf(when))
}

// unsendableNumber stands for a number that the SDK cannot send. The request is changed before it is signed.
const unsendableNumber = 1999999999

// setNumber sets a number. boto3 also sends a number that is given as text, even if it is too large.
func (r *replay) setNumber(from any, into reflect.Value, path string) {
	r.Helper()
	if text, ok := from.(string); ok {
		r.unsendable = text
		into.SetInt(unsendableNumber)
		return
	}

	number, ok := from.(float64)
	if !ok {
		r.Fatalf("%s: cannot hold %v", path, from)
	}
	into.SetInt(int64(number))
}

// sendNumberAsText changes a request so that it contains the text of the case instead of unsendableNumber.
func (r *replay) sendNumberAsText(stack *middleware.Stack) error {
	return stack.Build.Add(middleware.BuildMiddlewareFunc("NumberAsText", func(
		ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler,
	) (middleware.BuildOutput, middleware.Metadata, error) {
		request := in.Request.(*smithyhttp.Request)
		body, err := io.ReadAll(request.GetStream())
		if err != nil {
			return middleware.BuildOutput{}, middleware.Metadata{}, err
		}

		text := strings.ReplaceAll(string(body), strconv.Itoa(unsendableNumber), url.QueryEscape(r.unsendable))
		in.Request, err = request.SetStream(strings.NewReader(text))
		if err != nil {
			return middleware.BuildOutput{}, middleware.Metadata{}, err
		}
		return next.HandleBuild(ctx, in)
	}), middleware.Before)
}

// setMembers sets the members of a struct.
func (r *replay) setMembers(from map[string]any, into reflect.Value, path string) {
	r.Helper()
	for name, value := range from {
		member := into.FieldByName(name)
		if !member.IsValid() {
			r.Fatalf("%s has no member %s", path, name)
		}
		r.setFields(value, member, path+"."+name)
	}
}

// toPlain returns an output as plain JSON values. Unset members are nil, blobs remain bytes.
func toPlain(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		if text, ok := v.Interface().(*string); ok {
			return *text // an empty string is a value
		}
		return toPlain(v.Elem())
	case reflect.Struct:
		if when, ok := v.Interface().(time.Time); ok {
			return when.Format(time.RFC3339Nano)
		}
		return plainMembers(v)
	case reflect.Slice:
		return plainList(v)
	case reflect.Map:
		members := map[string]any{}
		for _, name := range v.MapKeys() {
			members[name.String()] = toPlain(v.MapIndex(name))
		}
		return members
	case reflect.String:
		if v.Len() == 0 {
			return nil // an enumeration without a value
		}
		return v.String()
	case reflect.Bool:
		return v.Bool()
	case reflect.Int32, reflect.Int64:
		return float64(v.Int())
	}

	return fmt.Sprint(v.Interface())
}

// plainMembers returns the members of a struct as plain values.
func plainMembers(v reflect.Value) map[string]any {
	members := map[string]any{}
	for n := range v.NumField() {
		if field := v.Type().Field(n); field.IsExported() && field.Name != "ResultMetadata" {
			members[field.Name] = toPlain(v.Field(n))
		}
	}
	return members
}

// plainList returns a list of plain values, or the bytes of a blob.
func plainList(v reflect.Value) any {
	if v.IsNil() {
		return nil
	}
	if blob, ok := v.Interface().([]byte); ok {
		return blob
	}
	list := []any{}
	for n := range v.Len() {
		list = append(list, toPlain(v.Index(n)))
	}
	return list
}

// lookupPath follows a path of names and indexes. Nil if an element is missing.
func lookupPath(value any, path string) any {
	for part := range strings.SplitSeq(path, ".") {
		switch at := value.(type) {
		case map[string]any:
			value = at[part]
		case []any:
			n, err := strconv.Atoi(part)
			if err != nil || n >= len(at) {
				return nil
			}
			value = at[n]
		default:
			return nil
		}
	}

	return value
}

// differences returns what a value lacks from an expectation. Only named members are compared. Lists must have the same
// length, in any order. A member that the SDK does not have is a difference.
func differences(expected, actual any, path string) []string {
	switch want := expected.(type) {
	case map[string]any:
		if kind, value, ok := matcher(want); ok {
			if !kind.holds(value, actual) {
				return []string{fmt.Sprintf("%s is %v, against %s %v", path, actual, kind, value)}
			}
			return nil
		}
		members, ok := asObject(actual)
		if !ok {
			return []string{fmt.Sprintf("%s expected an object, is %v", path, actual)}
		}
		var found []string
		for _, name := range sortedKeys(want) {
			if _, known := members[name]; !known && !isAbsentMatcher(want[name]) {
				found = append(found, path+" has no member "+name)
				continue
			}
			found = append(found, differences(want[name], members[name], strings.TrimPrefix(path+"."+name, "."))...)
		}
		return found
	case []any:
		list, ok := actual.([]any)
		if !ok { // AWS sends empty lists; an absent list is another response
			return []string{fmt.Sprintf("%s expected a list of %d entries, is %v", path, len(want), actual)}
		}
		if len(list) != len(want) {
			return []string{fmt.Sprintf("%s expected %d entries, has %d: %v", path, len(want), len(list), list)}
		}
		rest := slices.Clone(list)
		var found []string
		for n, one := range want {
			match := slices.IndexFunc(rest, func(item any) bool { return len(differences(one, item, "")) == 0 })
			if match < 0 {
				found = append(found, differences(one, rest[0], path+"."+strconv.Itoa(n))...)
				continue
			}
			rest = slices.Delete(rest, match, match+1)
		}
		return found
	}

	if !reflect.DeepEqual(expected, actual) {
		return []string{fmt.Sprintf("%s expected %v, is %v", path, expected, actual)}
	}

	return nil
}

// asObject returns a value as an object. Policy documents of IAM are percent-encoded JSON, which boto3 decodes.
func asObject(value any) (map[string]any, bool) {
	text, isText := value.(string)
	if !isText {
		members, ok := value.(map[string]any)
		return members, ok
	}

	decoded, err := url.PathUnescape(text)
	if err != nil {
		return nil, false
	}
	var document map[string]any
	return document, json.Unmarshal([]byte(decoded), &document) == nil
}

// isAbsentMatcher reports whether an expectation is that a member is absent.
func isAbsentMatcher(want any) bool {
	members, _ := want.(map[string]any)
	_, is := members["$absent"]
	return is
}

// matching is a comparison other than equality.
type matching string

func matcher(want map[string]any) (matching, any, bool) {
	for name, value := range want {
		if len(want) == 1 && strings.HasPrefix(name, "$") {
			return matching(name), value, true
		}
	}
	return "", nil, false
}

func (m matching) holds(value, actual any) bool {
	switch m {
	case "$any":
		return actual != nil
	case "$absent":
		list, ok := actual.([]any)
		return actual == nil || actual == "" || ok && len(list) == 0
	case "$regex":
		return regexp.MustCompile(value.(string)).MatchString(fmt.Sprint(actual))
	case "$not":
		return !reflect.DeepEqual(actual, value)
	}

	return false
}
