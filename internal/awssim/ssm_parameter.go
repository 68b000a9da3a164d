// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

var ssmOperations = []namedOperation{
	newOperation((*World).putParameter),
	newOperation((*World).getParameter),
	newOperation((*World).getParameters),
	newOperation((*World).getParametersByPath),
	newOperation((*World).describeParameters),
	newOperation((*World).deleteParameter),
	newOperation((*World).deleteParameters),
	newOperation((*World).getParameterHistory),
	newOperation((*World).addTagsToResource),
	newOperation((*World).removeTagsFromResource),
	newOperation((*World).listTagsForResource),
}

// parameterState holds the parameters of Parameter Store.
type parameterState struct {
	parameters map[location]*orderedMap[*parameter] // by name
}

func newParameterState() parameterState {
	return parameterState{parameters: map[location]*orderedMap[*parameter]{}}
}

func (s parameterState) inLocation(p location) *orderedMap[*parameter] {
	if s.parameters[p] == nil {
		created := newOrderedMap[*parameter]()
		s.parameters[p] = &created
	}
	return s.parameters[p]
}

// parameter is a parameter with its versions, oldest first. It does not exist before its first version is visible.
type parameter struct {
	location location
	name     string
	kind     ssmtypes.ParameterType // of the newest version
	dataType string
	tags     map[string]string
	versions []parameterVersion
}

// parameterVersion is a version of a parameter.
type parameterVersion struct {
	number      int64
	kind        ssmtypes.ParameterType
	value       string // base64 ciphertext of a SecureString
	visibleAt   time.Time
	modifiedBy  string
	tier        ssmtypes.ParameterTier
	keyID       *string
	description *string
	pattern     *string
}

func (p *parameter) arn() string { return parameterARN(p.location, p.name) }

// parameterARN returns the ARN of a parameter. There is one slash before the name, also if the name itself starts
// with one.
func parameterARN(loc location, name string) string {
	return "arn:" + partitionOf(loc.region) + ":ssm:" + loc.region + ":" + loc.account + ":parameter/" +
		strings.TrimPrefix(name, "/")
}

// visibleVersions returns the versions that can be read at a time.
func (p *parameter) visibleVersions(now time.Time) []parameterVersion {
	return slices.DeleteFunc(slices.Clone(p.versions), func(v parameterVersion) bool { return now.Before(v.visibleAt) })
}

// findParameter returns a parameter that is visible at the time of the call.
func (w *World) findParameter(c *Call, loc location, name string) (*parameter, bool) {
	found, ok := w.parameterState.inLocation(loc).get(name)
	return found, ok && len(found.visibleVersions(c.At)) > 0
}

// findParameterToOverwrite returns the parameter that a put changes. AWS does not document whether the name of a
// parameter is taken before its first version is visible (rule 7.3).
func (w *World) findParameterToOverwrite(c *Call, name string) (*parameter, bool) {
	found, visible := w.findParameter(c, c.location(), name)
	return found, visible || found != nil && w.chooses(HiddenParameterTaken)
}

const (
	imageDataType          = "aws:ec2:image"
	maxParameterVersions   = 100 // rule 7.7
	maxParameterLevels     = 15
	maxParameterNameLength = 1011
)

var parameterNamePattern = regexp.MustCompile(`^[a-zA-Z0-9_.\-/]+$`)

// validateParameterName checks the syntax of a name (rule 7.7).
func (w *World) validateParameterName(c *Call, name string) error {
	path := strings.Split(strings.TrimPrefix(name, "/"), "/")
	first := strings.ToLower(path[0])
	switch {
	case w.violates(c, "7.7", strings.HasPrefix(first, "aws")):
		return badRequest("AccessDeniedException", "No access to reserved parameter name: %s.", name)
	case w.violates(
		c, "7.7", !parameterNamePattern.MatchString(name) || strings.HasPrefix(first, "ssm") || slices.Contains(path, ""),
	):
		return badRequest(
			"ValidationException",
			`Parameter name: can't be prefixed with "ssm" (case-insensitive). If formed as a path, it can consist of `+
				`sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following `+
				`3 symbols .-_`,
		)
	case w.violates(c, "7.7", len(path) > 1 && !strings.HasPrefix(name, "/")):
		return badRequest("ValidationException", "Parameter name must be a fully qualified name.")
	case w.violates(c, "7.7", len(path) > maxParameterLevels):
		return badRequest(
			"HierarchyLevelLimitExceededException", "A hierarchy can have a maximum of %d levels.", maxParameterLevels,
		)
	case w.violates(c, "7.7", len(parameterARN(c.location(), name)) > maxParameterNameLength):
		return badRequest(
			"ValidationException", "Parameter name must not be longer than %d characters, the ARN before it counted.",
			maxParameterNameLength,
		)
	}

	return nil
}

// validatePutParameter checks the other parameters of PutParameter and returns the tier that the value needs.
func (w *World) validatePutParameter(c *Call, in *ssm.PutParameterInput) (ssmtypes.ParameterTier, error) {
	err := refuseUnmodeled(
		in, "Name", "Value", "AllowedPattern", "DataType", "Description", "KeyId", "Overwrite", "Tags", "Tier", "Type",
	)
	if err != nil {
		return "", err
	}
	if err := w.validateParameterName(c, aws.ToString(in.Name)); err != nil {
		return "", err
	}
	if aws.ToString(in.Value) == "" {
		return "", validationError(c, "Value", in.Value, "Member must have length greater than or equal to 1")
	}
	if w.violates(c, "7.8", aws.ToBool(in.Overwrite) && len(in.Tags) > 0) {
		return "", badRequest("ValidationException",
			"Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove "+
				"overwrite flag. "+
				"To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.")
	}
	if kind := aws.ToString(in.DataType); kind != "" && kind != "text" && kind != imageDataType {
		return "", badRequest("ValidationException", "The following data type is not supported: %s", kind)
	}

	if err := w.validateParameterTags(c, in.Tags); err != nil {
		return "", err
	}

	tier, err := w.resolveTier(c, in)
	if err != nil {
		return "", err
	}

	return tier, w.validateAllowedPattern(c, in)
}

// validateParameterTags refuses tags with characters that SSM does not take, unlike EC2 (SSM API reference, Tag).
func (w *World) validateParameterTags(c *Call, tags []ssmtypes.Tag) error {
	for i, tag := range tags {
		for _, part := range []struct {
			member string
			text   *string
		}{{"key", tag.Key}, {"value", tag.Value}} {
			if w.violates(c, "B.7.3", !tagPattern.MatchString(aws.ToString(part.text))) {
				return validationError(
					c, fmt.Sprintf("tags.%d.member.%s", i+1, part.member), part.text,
					`Member must satisfy regular expression pattern: ^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$`,
				)
			}
		}
	}
	return nil
}

// resolveTier returns the tier that a value needs. It refuses a value that is too long for the tier.
func (w *World) resolveTier(c *Call, in *ssm.PutParameterInput) (ssmtypes.ParameterTier, error) {
	tier := in.Tier
	switch {
	case tier == ssmtypes.ParameterTierIntelligentTiering && len(*in.Value) > 4096:
		tier = ssmtypes.ParameterTierAdvanced
	case tier == "" || tier == ssmtypes.ParameterTierIntelligentTiering:
		tier = ssmtypes.ParameterTierStandard
	}

	switch size := len(*in.Value); {
	case w.violates(c, "7.7", tier == ssmtypes.ParameterTierStandard && size > 4096):
		return "", badRequest("ValidationException",
			"Standard tier parameters support a maximum parameter value of 4096 characters. "+
				"To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier.")
	case w.violates(c, "7.7", size > 8192):
		return "", badRequest(
			"ValidationException", "Advanced tier parameters support a maximum parameter value of 8192 characters.",
		)
	}

	return tier, nil
}

// validateAllowedPattern checks the pattern of a parameter, and its value against the pattern.
func (w *World) validateAllowedPattern(c *Call, in *ssm.PutParameterInput) error {
	if in.AllowedPattern == nil {
		return nil
	}

	pattern, err := regexp.Compile("^(?:" + *in.AllowedPattern + ")$")
	if w.violates(c, "7.8", err != nil) {
		return badRequest("InvalidAllowedPatternException", "The pattern %s is not valid.", *in.AllowedPattern)
	}
	if w.violates(c, "7.8", err == nil && !pattern.MatchString(*in.Value)) {
		return badRequest(
			"ParameterPatternMismatchException", "Parameter value, cannot be validated against allowedPattern: %s",
			*in.AllowedPattern,
		)
	}

	return nil
}

func (w *World) putParameter(c *Call, in *ssm.PutParameterInput) (*ssm.PutParameterOutput, error) {
	tier, err := w.validatePutParameter(c, in)
	if err != nil {
		return nil, err
	}

	tags := parseTags(in.Tags, func(t ssmtypes.Tag) (string, string) { return aws.ToString(t.Key), aws.ToString(t.Value) })
	found, ok := w.findParameterToOverwrite(c, aws.ToString(in.Name))
	put := AuthorizationRequest{
		Action: "ssm:PutParameter", Resource: parameterARN(c.location(), aws.ToString(in.Name)),
		Context: requestTagContext(tags),
	}

	put = put.withContext(iampolicy.Context{"ssm:Overwrite": {strconv.FormatBool(aws.ToBool(in.Overwrite))}})
	if ok {
		put = put.withContext(found.tagContext())
	}

	requests := []AuthorizationRequest{put}
	if len(tags) > 0 {
		requests = append(requests, AuthorizationRequest{
			Action: "ssm:AddTagsToResource", Resource: put.Resource, Context: put.Context,
		})
	}

	if err := w.authorize(c, requests...); err != nil {
		return nil, err
	}

	kind, dataType, err := w.resolveParameterType(c, in, found, ok)
	if err != nil {
		return nil, err
	}
	if w.violates(c, "7.7", !ok && w.countParameters(c, tier) >= parameterLimits[tier]) {
		return nil, badRequest("ParameterLimitExceeded", "You have exceeded the number of parameters for this AWS account.")
	}

	created := parameterVersion{
		number:      1,
		kind:        kind,
		value:       *in.Value,
		visibleAt:   c.At,
		modifiedBy:  c.caller.principal.ARN,
		tier:        tier,
		description: in.Description,
		pattern:     in.AllowedPattern,
	}

	if kind == ssmtypes.ParameterTypeSecureString {
		if err := w.encryptParameter(c, in, &created); err != nil {
			return nil, err
		}
	}

	stored, known := w.parameterState.inLocation(c.location()).get(aws.ToString(in.Name))
	if !known {
		stored = &parameter{
			location: c.location(),
			name:     aws.ToString(in.Name),
			kind:     kind,
			dataType: dataType,
			tags:     tags,
		}
	}

	if n := len(stored.versions); n > 0 {
		created.number = stored.versions[n-1].number + 1
	}

	out := &ssm.PutParameterOutput{Version: created.number, Tier: tier}
	if dataType == imageDataType {
		if w.violates(c, "7.2", !w.isValidImageParameter(c, *in.Value)) {
			return out, nil // accepted, but never stored
		}
		// The value can be read after a second to a minute (rule 7.3).
		created.visibleAt = c.At.Add(time.Second +
			time.Duration(w.random("image parameter", stored.arn(), *in.Value)%uint64(59*time.Second)))
	}

	stored.kind = kind
	stored.versions = append(stored.versions, created)
	if len(stored.versions) > maxParameterVersions {
		stored.versions = stored.versions[1:]
	}

	w.parameterState.inLocation(c.location()).put(stored.name, stored)
	c.recordChange(stored.arn())
	return out, nil
}

// resolveParameterType returns the type and data type of a put. The type of an existing parameter changes to the one in
// the request (rule B.6.1). Its data type cannot change (rule 7.4).
func (w *World) resolveParameterType(
	c *Call, in *ssm.PutParameterInput, found *parameter, ok bool,
) (ssmtypes.ParameterType, string, error) {
	kind, dataType := in.Type, aws.ToString(in.DataType)
	if ok {
		if w.violates(c, "7.8", !aws.ToBool(in.Overwrite)) {
			return "", "", badRequest(
				"ParameterAlreadyExists",
				"The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
			)
		}
		if kind != "" && kind != found.kind && w.chooses(ParameterTypeRefused) {
			return "", "", badRequest(
				"HierarchyTypeMismatchException",
				"The parameter type can't be changed from %s to %s. Delete the parameter and create it again.", found.kind, kind,
			)
		}
		if w.violates(c, "B.6.1", kind == "") {
			kind = found.kind
		}
		if w.violates(c, "7.4", dataType != "" && dataType != found.dataType) {
			return "", "", badRequest(
				"ValidationException",
				"The data type of an existing parameter can't be changed. Delete the parameter and create it again.",
			)
		}
		dataType = found.dataType
	}

	if dataType == "" {
		dataType = "text"
	}

	switch {
	case kind == "":
		return "", "", badRequest("ValidationException", "A parameter type is required when you create a parameter.")
	case w.violates(c, "7.1", dataType == imageDataType && kind != ssmtypes.ParameterTypeString):
		return "", "", badRequest(
			"ValidationException", "The data type %s is for parameters of the type String only.", dataType,
		)
	case in.KeyId != nil && kind != ssmtypes.ParameterTypeSecureString:
		return "", "", badRequest("ValidationException", "KeyId is for parameters of the type SecureString only.")
	}

	return kind, dataType, nil
}

// parameterLimits maps tiers to the maximum number of parameters in an account and Region (rule 7.7).
var parameterLimits = map[ssmtypes.ParameterTier]int{
	ssmtypes.ParameterTierStandard: 10000, ssmtypes.ParameterTierAdvanced: 100000,
}

func (w *World) countParameters(c *Call, tier ssmtypes.ParameterTier) (n int) {
	for _, p := range w.parameterState.inLocation(c.location()).all {
		if p.versions[len(p.versions)-1].tier == tier {
			n++
		}
	}
	return n
}

// isValidImageParameter reports whether Parameter Store keeps an image ID. The image must exist, and the caller must
// have permission to describe it (rules 7.2 and 7.6).
func (w *World) isValidImageParameter(c *Call, id string) bool {
	decision, err := w.evaluate(c, AuthorizationRequest{Action: "ec2:DescribeImages", Resource: "*"})
	if err != nil || !decision.Allowed {
		return false
	}
	_, err = w.findLaunchableImage(c, c.Region, id)
	return err == nil
}

// encryptParameter encrypts a value with Encrypt in the standard tier and GenerateDataKey in the advanced tier (rule
// 7.9).
func (w *World) encryptParameter(c *Call, in *ssm.PutParameterInput, created *parameterVersion) error {
	name := aws.ToString(in.KeyId)
	if name == "" {
		name = "alias/aws/ssm"
	}

	k, ok := w.findKey(c.location(), name)
	if !ok || w.violates(c, "7.8", !w.isUsable(k) || !isSymmetric(k)) || k.material.current() == nil {
		return badRequest("InvalidKeyId", "Key %s is not there, or cannot encrypt now.", name)
	}

	action := "kms:Encrypt"
	if created.tier == ssmtypes.ParameterTierAdvanced {
		action = "kms:GenerateDataKey"
	}

	context := parameterContext(parameterARN(c.location(), aws.ToString(in.Name)))
	request := k.newAuthorization(keyUse{action: action, service: "ssm", context: encryptionContextKeys(context)})
	decision, err := w.evaluate(c, request)
	if err != nil {
		return err
	}
	if w.violates(c, "7.9", !decision.Allowed) {
		return w.accessDenied(c, request, decision)
	}

	created.keyID = &name
	created.value = base64.StdEncoding.EncodeToString(w.encryptData(k, []byte(created.value), context).encode())
	return nil
}

// parameterContext returns the encryption context of Parameter Store.
func parameterContext(arn string) map[string]string { return map[string]string{"PARAMETER_ARN": arn} }

// decryptParameter decrypts a value. The permission on the key is checked at every read (rule 7.9), and errors of KMS
// are passed on (rule 7.10).
func (w *World) decryptParameter(c *Call, p *parameter, ciphertext string) (string, error) {
	blob, _ := base64.StdEncoding.DecodeString(ciphertext)
	text, _ := decodeCiphertext(blob)
	k, ok := w.findKey(p.location, kmsARN(location{text.Account, p.location.region}, "key/"+text.KeyID))
	if !ok {
		return "", badRequest("AccessDeniedException", inaccessibleKeyMessage)
	}

	context := parameterContext(p.arn())
	decision, err := w.evaluate(
		c, k.newAuthorization(keyUse{action: "kms:Decrypt", service: "ssm", context: encryptionContextKeys(context)}),
	)
	if err != nil {
		return "", err
	}
	if w.violates(c, "7.10", !decision.Allowed) {
		return "", badRequest("AccessDeniedException", inaccessibleKeyMessage)
	}
	if w.violates(c, "7.9", !w.isUsable(k)) {
		return "", badRequest("InvalidKeyId", "%s cannot decrypt now.", *k.Arn)
	}

	plaintext, ok := k.decryptData(text, context)
	if !ok {
		return "", badRequest("InvalidKeyId", "%s cannot decrypt the parameter.", *k.Arn)
	}

	return string(plaintext), nil
}

// tagContext returns the condition keys of an existing parameter's tags.
func (p *parameter) tagContext() iampolicy.Context {
	context := iampolicy.Context{}
	for key, value := range p.tags {
		context["aws:ResourceTag/"+key], context["ssm:resourceTag/"+key] = []string{value}, []string{value}
	}
	return context
}
