// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"encoding/base64"
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

var ssmOperations = []named{
	op((*World).putParameter),
	op((*World).getParameter),
	op((*World).getParameters),
	op((*World).getParametersByPath),
	op((*World).describeParameters),
	op((*World).deleteParameter),
	op((*World).addTagsToResource),
	op((*World).removeTagsFromResource),
	op((*World).listTagsForResource),
}

// parameterState is the SSM Parameter Store.
type parameterState struct {
	parameters map[place]*shelf[*parameter] // by name
}

func newParameterState() parameterState {
	return parameterState{parameters: map[place]*shelf[*parameter]{}}
}

func (s parameterState) at(p place) *shelf[*parameter] {
	if s.parameters[p] == nil {
		made := newShelf[*parameter]()
		s.parameters[p] = &made
	}
	return s.parameters[p]
}

// parameter is a parameter with its versions, the oldest first. One without a version that is there yet does not exist.
type parameter struct {
	home     place
	name     string
	kind     ssmtypes.ParameterType
	dataType string
	tags     map[string]string
	versions []version
}

// version is a value of a parameter: what was put, and from when on it is there.
type version struct {
	number      int64
	value       string // of a SecureString its ciphertext in base64
	ready       time.Time
	by          string
	tier        ssmtypes.ParameterTier
	keyID       *string
	description *string
	pattern     *string
}

func (p *parameter) arn() string { return parameterARN(p.home, p.name) }

// parameterARN joins a name to the ARN: one that begins with a slash brings it along.
func parameterARN(at place, name string) string {
	return "arn:" + partitionOf(at.region) + ":ssm:" + at.region + ":" + at.account + ":parameter/" + strings.TrimPrefix(name, "/")
}

// seen are the versions that are there at a moment.
func (p *parameter) seen(now time.Time) []version {
	return slices.DeleteFunc(slices.Clone(p.versions), func(v version) bool { return now.Before(v.ready) })
}

// findParameter looks a parameter up that is there at the moment of the call.
func (w *World) findParameter(c *Call, at place, name string) (*parameter, bool) {
	found, there := w.parameterState.at(at).get(name)
	return found, there && len(found.seen(c.At)) > 0
}

const (
	imageDataType    = "aws:ec2:image"
	versionsKept     = 100 // 7.7
	parameterDepth   = 15
	longestParameter = 1011
)

var parameterForm = regexp.MustCompile(`^[a-zA-Z0-9_.\-/]+$`)

// checkParameterName is the syntax of a name (7.7).
func (w *World) checkParameterName(c *Call, name string) error {
	path := strings.Split(strings.TrimPrefix(name, "/"), "/")
	first := strings.ToLower(path[0])
	switch {
	case w.breaks(c, "7.7", strings.HasPrefix(first, "aws")):
		return invalid("AccessDeniedException", "No access to reserved parameter name: %s.", name)
	case w.breaks(c, "7.7", !parameterForm.MatchString(name) || strings.HasPrefix(first, "ssm") || slices.Contains(path, "")):
		return invalid("ValidationException", `Parameter name: can't be prefixed with "ssm" (case-insensitive). If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_`)
	case w.breaks(c, "7.7", len(path) > 1 && !strings.HasPrefix(name, "/")):
		return invalid("ValidationException", "Parameter name must be a fully qualified name.")
	case w.breaks(c, "7.7", len(path) > parameterDepth):
		return invalid("HierarchyLevelLimitExceededException", "A hierarchy can have a maximum of %d levels.", parameterDepth)
	case w.breaks(c, "7.7", len(parameterARN(c.place(), name)) > longestParameter):
		return invalid("ValidationException", "Parameter name must not be longer than %d characters, the ARN before it counted.", longestParameter)
	}
	return nil
}

// checkPut is the rest of the syntax of PutParameter, with the tier that the value needs.
func (w *World) checkPut(c *Call, in *ssm.PutParameterInput) (ssmtypes.ParameterTier, error) {
	if err := only(in, "Name", "Value", "AllowedPattern", "DataType", "Description", "KeyId", "Overwrite", "Tags", "Tier", "Type"); err != nil {
		return "", err
	}
	if err := w.checkParameterName(c, aws.ToString(in.Name)); err != nil {
		return "", err
	}
	if aws.ToString(in.Value) == "" {
		return "", ill(c, "Value", in.Value, "Member must have length greater than or equal to 1")
	}
	if w.breaks(c, "7.8", aws.ToBool(in.Overwrite) && len(in.Tags) > 0) {
		return "", invalid("ValidationException", "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag. "+
			"To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.")
	}
	if kind := aws.ToString(in.DataType); kind != "" && kind != "text" && kind != imageDataType {
		return "", invalid("ValidationException", "The following data type is not supported: %s", kind)
	}
	tier := in.Tier
	switch {
	case tier == ssmtypes.ParameterTierIntelligentTiering && len(*in.Value) > 4096:
		tier = ssmtypes.ParameterTierAdvanced
	case tier == "" || tier == ssmtypes.ParameterTierIntelligentTiering:
		tier = ssmtypes.ParameterTierStandard
	}
	switch size := len(*in.Value); {
	case w.breaks(c, "7.7", tier == ssmtypes.ParameterTierStandard && size > 4096):
		return "", invalid("ValidationException", "Standard tier parameters support a maximum parameter value of 4096 characters. "+
			"To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier.")
	case w.breaks(c, "7.7", size > 8192):
		return "", invalid("ValidationException", "Advanced tier parameters support a maximum parameter value of 8192 characters.")
	}
	if in.AllowedPattern != nil {
		pattern, err := regexp.Compile("^(?:" + *in.AllowedPattern + ")$")
		if w.breaks(c, "7.8", err != nil) {
			return "", invalid("InvalidAllowedPatternException", "The pattern %s is not valid.", *in.AllowedPattern)
		}
		if w.breaks(c, "7.8", err == nil && !pattern.MatchString(*in.Value)) {
			return "", invalid("ParameterPatternMismatchException", "Parameter value, cannot be validated against allowedPattern: %s", *in.AllowedPattern)
		}
	}
	return tier, nil
}

func (w *World) putParameter(c *Call, in *ssm.PutParameterInput) (*ssm.PutParameterOutput, error) {
	tier, err := w.checkPut(c, in)
	if err != nil {
		return nil, err
	}
	tags := tagMap(in.Tags, func(t ssmtypes.Tag) (string, string) { return aws.ToString(t.Key), aws.ToString(t.Value) })
	found, there := w.findParameter(c, c.place(), aws.ToString(in.Name))
	put := Ask{Action: "ssm:PutParameter", Resource: parameterARN(c.place(), aws.ToString(in.Name)), Context: tagContext(tags)}
	put = put.with(iampolicy.Context{"ssm:Overwrite": {strconv.FormatBool(aws.ToBool(in.Overwrite))}})
	if there {
		put = put.with(found.tagged())
	}
	asks := []Ask{put}
	if len(tags) > 0 {
		asks = append(asks, Ask{Action: "ssm:AddTagsToResource", Resource: put.Resource, Context: put.Context})
	}
	if err := w.authorise(c, asks...); err != nil {
		return nil, err
	}
	kind, dataType, err := w.typeOfPut(c, in, found, there)
	if err != nil {
		return nil, err
	}
	if w.breaks(c, "7.7", !there && w.parametersOf(c, tier) >= parameterLimits[tier]) {
		return nil, invalid("ParameterLimitExceeded", "You have exceeded the number of parameters for this AWS account.")
	}
	made := version{number: 1, value: *in.Value, ready: c.At, by: c.caller.principal.ARN, tier: tier, description: in.Description, pattern: in.AllowedPattern}
	if kind == ssmtypes.ParameterTypeSecureString {
		if err := w.secure(c, in, &made); err != nil {
			return nil, err
		}
	}
	stored, known := w.parameterState.at(c.place()).get(aws.ToString(in.Name))
	if !known {
		stored = &parameter{home: c.place(), name: aws.ToString(in.Name), kind: kind, dataType: dataType, tags: tags}
	}
	if n := len(stored.versions); n > 0 {
		made.number = stored.versions[n-1].number + 1
	}
	out := &ssm.PutParameterOutput{Version: made.number, Tier: tier}
	if dataType == imageDataType {
		if w.breaks(c, "7.2", !w.imageFits(c, *in.Value)) {
			return out, nil // accepted, and nothing is written
		}
		// Seconds to a minute go by before the value can be read (7.3).
		made.ready = c.At.Add(time.Second + time.Duration(w.draw("image parameter", stored.arn(), *in.Value)%uint64(59*time.Second)))
	}
	stored.versions = append(stored.versions, made)
	if len(stored.versions) > versionsKept {
		stored.versions = stored.versions[1:]
	}
	w.parameterState.at(c.place()).put(stored.name, stored)
	c.changed(stored.arn())
	return out, nil
}

// typeOfPut is the type and data type of what is put; neither can change afterwards (7.4).
func (w *World) typeOfPut(c *Call, in *ssm.PutParameterInput, found *parameter, there bool) (ssmtypes.ParameterType, string, error) {
	kind, dataType := in.Type, aws.ToString(in.DataType)
	if there {
		if w.breaks(c, "7.8", !aws.ToBool(in.Overwrite)) {
			return "", "", invalid("ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
		}
		if w.breaks(c, "7.8", kind != "" && kind != found.kind) {
			return "", "", invalid("HierarchyTypeMismatchException", "The parameter type can't be changed from %s to %s. Delete the parameter and create it again.", found.kind, kind)
		}
		if w.breaks(c, "7.4", dataType != "" && dataType != found.dataType) {
			return "", "", invalid("ValidationException", "The data type of an existing parameter can't be changed. Delete the parameter and create it again.")
		}
		kind, dataType = found.kind, found.dataType
	}
	if dataType == "" {
		dataType = "text"
	}
	switch {
	case kind == "":
		return "", "", invalid("ValidationException", "A parameter type is required when you create a parameter.")
	case w.breaks(c, "7.1", dataType == imageDataType && kind != ssmtypes.ParameterTypeString):
		return "", "", invalid("ValidationException", "The data type %s is for parameters of the type String only.", dataType)
	case in.KeyId != nil && kind != ssmtypes.ParameterTypeSecureString:
		return "", "", invalid("ValidationException", "KeyId is for parameters of the type SecureString only.")
	}
	return kind, dataType, nil
}

// parameterLimits are numbers of parameters per account and Region (7.7).
var parameterLimits = map[ssmtypes.ParameterTier]int{ssmtypes.ParameterTierStandard: 10000, ssmtypes.ParameterTierAdvanced: 100000}

func (w *World) parametersOf(c *Call, tier ssmtypes.ParameterTier) (n int) {
	for _, p := range w.parameterState.at(c.place()).all {
		if p.versions[len(p.versions)-1].tier == tier {
			n++
		}
	}
	return n
}

// imageFits is what Parameter Store finds out about an image afterwards: it is there for the caller, who may describe it (7.2, 7.6).
func (w *World) imageFits(c *Call, id string) bool {
	decision, err := w.decide(c, Ask{Action: "ec2:DescribeImages", Resource: "*"})
	if err != nil || !decision.Allowed {
		return false
	}
	_, err = w.imageFor(c, c.Region, id)
	return err == nil
}

// secure encrypts a value: Encrypt for the standard tier, GenerateDataKey for the advanced (7.9).
func (w *World) secure(c *Call, in *ssm.PutParameterInput, made *version) error {
	name := aws.ToString(in.KeyId)
	if name == "" {
		name = "alias/aws/ssm"
	}
	with, there := w.findKey(c.place(), name)
	if !there || w.breaks(c, "7.8", !w.usable(with) || !symmetric(with)) || with.ring.current() == nil {
		return invalid("InvalidKeyId", "Key %s is not there, or cannot encrypt now.", name)
	}
	action := "kms:Encrypt"
	if made.tier == ssmtypes.ParameterTierAdvanced {
		action = "kms:GenerateDataKey"
	}
	context := parameterContext(parameterARN(c.place(), aws.ToString(in.Name)))
	ask := with.ask(keyUse{action: action, through: "ssm", context: cryptoContext(context)})
	decision, err := w.decide(c, ask)
	if err != nil {
		return err
	}
	if w.breaks(c, "7.9", !decision.Allowed) {
		return w.denied(c, ask, decision)
	}
	made.keyID = &name
	made.value = base64.StdEncoding.EncodeToString(w.seal(with, []byte(made.value), context).blob())
	return nil
}

// parameterContext is the encryption context under which Parameter Store encrypts.
func parameterContext(arn string) map[string]string { return map[string]string{"PARAMETER_ARN": arn} }

// reveal decrypts a value. That the key may be used is asked now, not when the value was put (7.9), and KMS's refusal is passed on (7.10).
func (w *World) reveal(c *Call, p *parameter, ciphertext string) (string, error) {
	blob, _ := base64.StdEncoding.DecodeString(ciphertext)
	text, _ := unseal(blob)
	with, there := w.findKey(p.home, kmsARN(place{text.Account, p.home.region}, "key/"+text.KeyID))
	if !there {
		return "", invalid("AccessDeniedException", inaccessible)
	}
	context := parameterContext(p.arn())
	decision, err := w.decide(c, with.ask(keyUse{action: "kms:Decrypt", through: "ssm", context: cryptoContext(context)}))
	if err != nil {
		return "", err
	}
	if w.breaks(c, "7.10", !decision.Allowed) {
		return "", invalid("AccessDeniedException", inaccessible)
	}
	if w.breaks(c, "7.9", !w.usable(with)) {
		return "", invalid("InvalidKeyId", "%s cannot decrypt now.", *with.Arn)
	}
	plaintext, ok := with.open(text, context)
	if !ok {
		return "", invalid("InvalidKeyId", "%s cannot decrypt the parameter.", *with.Arn)
	}
	return string(plaintext), nil
}

// tagged is what policies may know of a parameter that is there.
func (p *parameter) tagged() iampolicy.Context {
	context := iampolicy.Context{}
	for key, value := range p.tags {
		context["aws:ResourceTag/"+key], context["ssm:resourceTag/"+key] = []string{value}, []string{value}
	}
	return context
}
