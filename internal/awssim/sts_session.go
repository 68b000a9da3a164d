// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

var stsOperations = []namedOperation{
	newOperation((*World).getCallerIdentity),
	newOperation((*World).assumeRole),
	newOperation((*World).getSessionToken),
	newOperation((*World).decodeAuthorizationMessage),
}

// session holds temporary credentials.
type session struct {
	account        *account
	role           *role // assumed role; nil after GetSessionToken
	roleName       string
	user           *user  // user of GetSessionToken; nil for root
	name           string // RoleSessionName
	token          string
	issued         time.Time
	expires        time.Time
	policies       []*iampolicy.Document // session policies of AssumeRole
	tags           map[string]string
	transitive     []string // keys of the tags that sessions assumed from this one inherit
	sourceIdentity string
}

// arn returns the ARN of a role session, which does not contain the path of the role.
func (s *session) arn() string {
	return s.account.arn("sts", "", "assumed-role/"+s.roleName+"/"+s.name)
}

func (w *World) getCallerIdentity(c *Call, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
	return &sts.GetCallerIdentityOutput{ // rule 5.9: needs no permission
		Account: &c.caller.account.number, Arn: &c.caller.principal.ARN, UserId: aws.String(c.caller.userID()),
	}, nil
}

// Patterns of rule 5.5.
var (
	roleARNPattern        = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[!-~]+$`)
	sessionNamePattern    = regexp.MustCompile(`^[\w+=,.@-]*$`)
	externalIDPattern     = regexp.MustCompile(`^[\w+=,.@:\\/-]+$`)
	sourceIdentityPattern = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
	tagPattern            = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
)

// isTagText reports whether a text is valid as the key or value of a session tag. The length is checked outside the
// pattern, which would take megabytes to compile.
func isTagText(text *string, least, most int) bool {
	n := utf8.RuneCountInString(aws.ToString(text))
	return least <= n && n <= most && tagPattern.MatchString(aws.ToString(text))
}

const (
	sessionNameConstraint = `Member must satisfy regular expression pattern: [\w+=,.@-]*`
	// maxPackedSize is the maximum number of characters of session policy and tags. AWS does not say how many fit.
	maxPackedSize = 4096
)

// validateAssumeRole checks the parameters of AssumeRole (rules 5.1 and 5.5).
func (w *World) validateAssumeRole(c *Call, in *sts.AssumeRoleInput) error {
	err := refuseUnmodeled(
		in, "RoleArn", "RoleSessionName", "DurationSeconds", "ExternalId", "Policy", "PolicyArns", "SourceIdentity", "Tags",
		"TransitiveTagKeys",
	)
	if err != nil {
		return err
	}
	if err := validateRange(c, "DurationSeconds", in.DurationSeconds, 900, 43200); w.violates(c, "5.1", err != nil) {
		return err
	}
	if err := w.validateSessionName(c, in.RoleSessionName); err != nil {
		return err
	}

	switch {
	case w.violates(c, "5.5", in.ExternalId != nil && !isExternalID(*in.ExternalId)):
		return validationError(
			c, "ExternalId", in.ExternalId, `Member must satisfy regular expression pattern: [\w+=,.@:\/-]{2,1224}`,
		)
	case w.violates(c, "5.5", in.SourceIdentity != nil && !isSourceIdentity(*in.SourceIdentity)):
		return validationError(c, "SourceIdentity", in.SourceIdentity, sessionNameConstraint)
	case w.violates(c, "5.5", len(aws.ToString(in.Policy)) > 2048):
		return validationError(c, "Policy", in.Policy, "Member must have length less than or equal to 2048")
	case w.violates(c, "5.5", len(in.PolicyArns) > 10):
		return validationError(c, "PolicyArns", len(in.PolicyArns), "Member must have length less than or equal to 10")
	case w.violates(c, "5.5", len(in.Tags) > 50):
		return validationError(c, "Tags", len(in.Tags), "Member must have length less than or equal to 50")
	}

	// The constraints of all members are checked before the ARN is parsed.
	if !matchesPattern(in.RoleArn, roleARNPattern) {
		return badRequest("ValidationError", "%s is invalid", aws.ToString(in.RoleArn))
	}

	return w.validateSessionTags(c, in)
}

// validateSessionName checks the name of a session. Its characters and its length have messages of their own.
func (w *World) validateSessionName(c *Call, name *string) error {
	if w.violates(c, "5.5", !matchesPattern(name, sessionNamePattern)) {
		return validationError(c, "RoleSessionName", name, sessionNameConstraint)
	}
	if err := validateLength(c, "RoleSessionName", name, 2, 64); w.violates(c, "5.5", err != nil) {
		return err
	}
	return nil
}

// isExternalID reports whether an external ID is valid.
func isExternalID(id string) bool {
	return externalIDPattern.MatchString(id) && len(id) >= 2 && len(id) <= 1224
}

// isSourceIdentity reports whether a source identity is valid.
func isSourceIdentity(name string) bool {
	return sourceIdentityPattern.MatchString(name) && !strings.HasPrefix(name, "aws:")
}

// validateSessionTags checks the tags and the transitive tag keys of AssumeRole (rule 5.5).
func (w *World) validateSessionTags(c *Call, in *sts.AssumeRoleInput) error {
	seen := map[string]bool{}
	for _, tag := range in.Tags {
		key := strings.ToLower(aws.ToString(tag.Key))
		if w.violates(c, "5.5", !isTagText(tag.Key, 1, 128) || !isTagText(tag.Value, 0, 256)) {
			return validationError(c, "Tags", aws.ToString(tag.Key), "keys of 1 to 128 characters, values of 0 to 256")
		}
		if seen[key] {
			return badRequest(
				"InvalidParameterValue", "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
			)
		}
		seen[key] = true
	}

	for _, key := range in.TransitiveTagKeys {
		if !seen[strings.ToLower(key)] {
			return badRequest(
				"InvalidParameterValue", "The specified transitive tag key must be included in the requested tags.",
			)
		}
	}

	return nil
}

// assumeRole creates a role session. The role's trust policy must allow the caller. The caller's own policies must
// allow it too if the trust policy names only the caller's account, or if the role belongs to another account.
func (w *World) assumeRole(c *Call, in *sts.AssumeRoleInput) (*sts.AssumeRoleOutput, error) {
	if err := w.validateAssumeRole(c, in); err != nil {
		return nil, err
	}
	if c.caller.iamPrincipal == nil {
		return nil, newAPIError(http.StatusForbidden, "AccessDenied", "Roles may not be assumed by root accounts.")
	}

	created, err := w.newSession(c, in)
	if err != nil {
		return nil, err
	}
	if err := w.authorize(c, newAssumeRoleAuthorizations(created, in)...); err != nil {
		return nil, err
	}

	duration := time.Hour
	if in.DurationSeconds != nil {
		duration = time.Duration(*in.DurationSeconds) * time.Second
	}

	chained := c.caller.session != nil && c.caller.session.role != nil
	if w.violates(c, "5.2", chained && duration > time.Hour) {
		return nil, badRequest(
			"ValidationError",
			"The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
		)
	}
	if w.violates(c, "5.1", duration > created.role.maxSessionDuration) {
		return nil, badRequest(
			"ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
		)
	}

	packed, err := w.applySessionPolicies(c, created, in)
	if err != nil {
		return nil, err
	}

	created.expires = c.At.Add(duration)
	out := &sts.AssumeRoleOutput{
		AssumedRoleUser: &ststypes.AssumedRoleUser{
			Arn: aws.String(created.arn()), AssumedRoleId: aws.String(created.role.id + ":" + created.name),
		},
		Credentials:      w.issueCredentials(created, c.caller.principal.ARN, created.role.arn),
		PackedPolicySize: packed,
	}

	out.SessionTokenSize, out.SessionTokenUtilization = tokenSize(created) // rule 5.7
	if created.sourceIdentity != "" {
		out.SourceIdentity = &created.sourceIdentity
	}

	return out, nil
}

// newSession returns the session of an AssumeRole request. Some properties come from the caller's session (rule 5.5).
func (w *World) newSession(c *Call, in *sts.AssumeRoleInput) (*session, error) {
	role, ok := w.findRole(*in.RoleArn)
	if !ok || role.account.suspended || role.created.After(c.At) { // AWS returns the same error in all three cases
		return nil, newAPIError(http.StatusForbidden, "AccessDenied",
			"User: %s is not authorized to perform: sts:AssumeRole on resource: %s",
			c.caller.principal.ARN, *in.RoleArn)
	}

	created := &session{
		account:        role.account,
		role:           role,
		roleName:       role.name,
		name:           aws.ToString(in.RoleSessionName),
		issued:         c.At,
		tags:           map[string]string{},
		sourceIdentity: aws.ToString(in.SourceIdentity),
	}

	if before := c.caller.session; before != nil {
		if w.violates(
			c, "5.5",
			before.sourceIdentity != "" && created.sourceIdentity != "" && created.sourceIdentity != before.sourceIdentity,
		) {
			return nil, newAPIError(http.StatusForbidden, "AccessDenied", "The source identity of a session cannot be changed.")
		}
		if before.sourceIdentity != "" {
			created.sourceIdentity = before.sourceIdentity
		}
		for _, key := range before.transitive {
			created.tags[key] = before.tags[key]
		}
		created.transitive = slices.Clone(before.transitive)
	}

	for _, tag := range in.Tags {
		inherited := slices.ContainsFunc(created.transitive, func(key string) bool {
			return strings.EqualFold(key, aws.ToString(tag.Key))
		})
		if w.violates(c, "5.5", inherited) {
			return nil, badRequest(
				"InvalidParameterValue",
				"One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the "+
					"calling session.",
			)
		}
	}

	maps.Copy(
		created.tags,
		parseTags(in.Tags, func(t ststypes.Tag) (string, string) { return aws.ToString(t.Key), aws.ToString(t.Value) }),
	)

	created.transitive = append(created.transitive, in.TransitiveTagKeys...)
	return created, nil
}

// newAssumeRoleAuthorizations returns the requests of AssumeRole. Session tags and a source identity need permissions
// of their own (rule 5.6).
func newAssumeRoleAuthorizations(created *session, in *sts.AssumeRoleInput) []AuthorizationRequest {
	context := requestTagContext(created.tags)
	context["sts:RoleSessionName"] = []string{created.name}
	if in.ExternalId != nil {
		context["sts:ExternalId"] = []string{*in.ExternalId}
	}
	if created.sourceIdentity != "" {
		context["sts:SourceIdentity"] = []string{created.sourceIdentity}
	}
	if len(created.transitive) > 0 {
		context["sts:TransitiveTagKeys"] = created.transitive
	}

	actions := []string{"sts:AssumeRole"}
	if len(created.tags) > 0 {
		actions = append(actions, "sts:TagSession")
	}
	if created.sourceIdentity != "" {
		actions = append(actions, "sts:SetSourceIdentity")
	}

	var requests []AuthorizationRequest
	for _, action := range actions {
		requests = append(requests, AuthorizationRequest{
			Action:           action,
			Resource:         created.role.arn,
			OwnerAccount:     created.account.number,
			Context:          context,
			resourcePolicies: resourcePolicies{policy: created.role.trustPolicy.parsed},
		})
	}

	return requests
}

// applySessionPolicies sets the session policies. It returns the packed size of policies and tags in percent.
func (w *World) applySessionPolicies(c *Call, created *session, in *sts.AssumeRoleInput) (*int32, error) {
	size := 0
	if in.Policy != nil {
		inline, err := w.parseIAMPolicy(c, in.Policy, iampolicy.Session)
		if err != nil {
			return nil, err
		}
		created.policies = append(created.policies, inline.parsed)
		size += len(inline.text)
	}

	for _, one := range in.PolicyArns {
		managed, ok := created.account.policies.get(aws.ToString(one.Arn))
		if !ok {
			return nil, badRequest(
				"ValidationError", "The specified managed policy %s does not exist in the account of the role.",
				aws.ToString(one.Arn),
			)
		}
		created.policies = append(created.policies, managed.parsed)
		size += len(*one.Arn)
	}

	for key, value := range created.tags {
		size += len(key) + len(value)
	}

	if w.violates(c, "5.6", size > maxPackedSize) {
		return nil, badRequest(
			"PackedPolicyTooLarge", "Packed size of session policies and session tags consumes %d%% of allotted space.",
			size*100/maxPackedSize,
		)
	}
	if size == 0 {
		return nil, nil
	}

	return aws.Int32(int32(size * 100 / maxPackedSize)), nil
}

// issueCredentials creates the credentials of a session. They depend on the request and its repetitions, not on the
// order of calls.
func (w *World) issueCredentials(created *session, what ...string) *ststypes.Credentials {
	id := "ASIA" + w.randomText(16, append([]string{"session", created.name}, what...)...)
	secret := base64.StdEncoding.EncodeToString(w.randomBytes(30, "session secret", id))
	created.token = base64.StdEncoding.EncodeToString(w.randomBytes(96, "session token", id))
	w.sessions[id] = created
	return &ststypes.Credentials{
		AccessKeyId:     &id,
		SecretAccessKey: &secret,
		SessionToken:    &created.token,
		Expiration:      aws.Time(w.clientTime(created.expires)),
	}
}

// maxTokenSize is the maximum size of a session token in bytes.
const maxTokenSize = 4096

// tokenSize returns the size of a session's token, and that size in percent of the maximum.
func tokenSize(s *session) (size, percent *int32) {
	n := int32(len(s.token))
	return &n, aws.Int32(n * 100 / maxTokenSize)
}

func (w *World) getSessionToken(c *Call, in *sts.GetSessionTokenInput) (*sts.GetSessionTokenOutput, error) {
	if err := refuseUnmodeled(in, "DurationSeconds"); err != nil {
		return nil, err
	}
	if err := validateRange(c, "DurationSeconds", in.DurationSeconds, 900, 129600); err != nil {
		return nil, err
	}
	if c.caller.session != nil {
		return nil, newAPIError(http.StatusForbidden, "AccessDenied", "Cannot call GetSessionToken with session credentials")
	}

	duration := 12 * time.Hour
	if in.DurationSeconds != nil {
		duration = time.Duration(*in.DurationSeconds) * time.Second
	}

	created := &session{account: c.caller.account, issued: c.At}
	if c.caller.iamPrincipal == nil {
		duration = min(duration, time.Hour)
	} else {
		created.user, _ = c.caller.account.users.get(iamKey(c.caller.iamPrincipal.name))
	}

	created.expires = c.At.Add(duration)
	out := &sts.GetSessionTokenOutput{Credentials: w.issueCredentials(created, c.caller.principal.ARN)}
	out.SessionTokenSize, out.SessionTokenUtilization = tokenSize(created) // rule 5.7
	return out, nil
}

// ServiceConfig returns an SDK config that acts as an AWS service through its service-linked role. No other caller can
// assume that role (rule 8.1).
func (w *World) ServiceConfig(roleARN, region string) (aws.Config, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	linked, ok := w.findRole(roleARN)
	if !ok || !linked.isServiceLinked() {
		return aws.Config{}, fmt.Errorf("no service-linked role has the ARN %q", roleARN)
	}

	created := &session{
		account:  linked.account,
		role:     linked,
		roleName: linked.name,
		name:     linked.service,
		issued:   w.now(),
		expires:  w.now().AddDate(1, 0, 0),
	}

	id := *w.issueCredentials(created, linked.arn).AccessKeyId
	config := w.Config(linked.account.number, region)
	config.Credentials = credentials.NewStaticCredentialsProvider(id, "secret", created.token)
	return config, nil
}
