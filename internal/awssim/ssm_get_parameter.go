// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// parameterName is a parameter in a request: a name or ARN with an optional version, such as "name:3".
type parameterName struct {
	location location
	name     string
	selector string // such as ":3"
}

func parseParameterName(loc location, given string) parameterName {
	read := parameterName{location: loc, name: given}
	if parts := strings.SplitN(given, ":", 6); parts[0] == "arn" && len(parts) == 6 {
		read.location, read.name = location{parts[4], parts[3]}, strings.TrimPrefix(parts[5], "parameter")
	}
	if i := strings.LastIndex(read.name, ":"); i >= 0 {
		read.name, read.selector = read.name[:i], read.name[i:]
	}
	return read
}

// find returns the parameter. In an ARN, a name without a slash looks as if it had one.
func (n parameterName) find(w *World, c *Call) (*parameter, bool) {
	if found, ok := w.findParameter(c, n.location, n.name); ok {
		return found, true
	}
	return w.findParameter(c, n.location, strings.TrimPrefix(n.name, "/"))
}

// findTagged returns the parameter in a call on tags, which may leave out the slash at the start of the name.
func (n parameterName) findTagged(w *World, c *Call) (*parameter, bool) {
	if found, ok := n.find(w, c); ok {
		return found, true
	}
	found, ok := w.findParameter(c, n.location, "/"+n.name)
	return found, w.violates(c, "B.6.4", ok)
}

// newAuthorization returns the request to perform an action on the parameter. Parameters of other accounts are not
// shared here (rule 7.11).
func (n parameterName) newAuthorization(w *World, c *Call, action string) AuthorizationRequest {
	asked := AuthorizationRequest{
		Action: action, Resource: parameterARN(n.location, n.name), OwnerAccount: n.location.account,
	}
	if found, ok := n.find(w, c); ok {
		asked = asked.withContext(found.tagContext())
	}
	return asked
}

// showParameter returns the newest version of a parameter, or the selected one.
func (w *World) showParameter(c *Call, p *parameter, selector string, decrypt bool) (*ssmtypes.Parameter, error) {
	versions := p.visibleVersions(c.At)
	at := len(versions) - 1
	if selector != "" {
		number, err := strconv.ParseUint(selector[1:], 10, 63)
		at = slices.IndexFunc(versions, func(v parameterVersion) bool { return err == nil && v.number == int64(number) })
		if at < 0 {
			return nil, w.versionNotFound(c, p.name, selector[1:], err == nil)
		}
	}

	version := versions[at]
	if decrypt && version.kind == ssmtypes.ParameterTypeSecureString {
		plain, err := w.decryptParameter(c, p, version.value)
		if err != nil {
			return nil, err
		}
		version.value = plain
	}

	view := &ssmtypes.Parameter{
		ARN:              aws.String(p.arn()),
		DataType:         &p.dataType,
		LastModifiedDate: aws.Time(version.visibleAt),
		Name:             &p.name,
		Type:             version.kind,
		Value:            &version.value,
		Version:          version.number,
	}

	if selector != "" {
		view.Selector = &selector
	}

	return view, nil
}

// versionNotFound returns the error for a selector of a parameter. A selector that is not a number is a label.
func (w *World) versionNotFound(c *Call, name, selector string, isVersion bool) error {
	if w.violates(c, "B.6.2", !isVersion) {
		return badRequest(
			"ParameterVersionNotFound",
			"Systems Manager could not find a version of %s that has the specified label, %s. Verify the parameter label and "+
				"try again.", name, selector,
		)
	}
	return badRequest(
		"ParameterVersionNotFound", "Systems Manager could not find version %s of %s. Verify the version and try again.",
		selector, name,
	)
}

// validateSelector refuses a name that ends with a colon.
func (w *World) validateSelector(c *Call, name string) error {
	if w.violates(c, "B.6.2", strings.HasSuffix(name, ":")) {
		return badRequest(
			"ValidationException",
			"Invalid parameter name. Please use correct syntax for referencing a version/label  <name>:<version/label>",
		)
	}
	return nil
}

func parameterNotFound(name string) *APIError {
	return badRequest("ParameterNotFound", "Parameter %s not found.", name)
}

func (w *World) getParameter(c *Call, in *ssm.GetParameterInput) (*ssm.GetParameterOutput, error) {
	if err := w.validateSelector(c, aws.ToString(in.Name)); err != nil {
		return nil, err
	}

	name := parseParameterName(c.location(), aws.ToString(in.Name))
	if err := w.authorize(c, name.newAuthorization(w, c, "ssm:GetParameter")); err != nil {
		return nil, err
	}

	found, ok := name.find(w, c)
	if !ok || found.location != c.location() {
		return nil, parameterNotFound(name.name)
	}

	view, err := w.showParameter(c, found, name.selector, aws.ToBool(in.WithDecryption))
	if err != nil {
		return nil, err
	}

	return &ssm.GetParameterOutput{Parameter: view}, nil
}

func (w *World) getParameters(c *Call, in *ssm.GetParametersInput) (*ssm.GetParametersOutput, error) {
	if len(in.Names) < 1 || len(in.Names) > 10 {
		return nil, validationError(c, "Names", len(in.Names), "Member must have length between 1 and 10")
	}

	var requests []AuthorizationRequest
	for _, given := range in.Names {
		if err := w.validateSelector(c, given); err != nil {
			return nil, err
		}
		requests = append(requests, parseParameterName(c.location(), given).newAuthorization(w, c, "ssm:GetParameters"))
	}

	if err := w.authorize(c, requests...); err != nil {
		return nil, err
	}

	out := &ssm.GetParametersOutput{Parameters: []ssmtypes.Parameter{}, InvalidParameters: []string{}}
	for i, given := range in.Names {
		if slices.Contains(in.Names[:i], given) {
			continue
		}
		name := parseParameterName(c.location(), given)
		found, ok := name.find(w, c)
		if !ok || found.location != c.location() {
			out.InvalidParameters = append(out.InvalidParameters, given)
			continue
		}
		view, err := w.showParameter(c, found, name.selector, aws.ToBool(in.WithDecryption))
		if w.violates(c, "B.6.3", hasErrorCode(err, "ParameterVersionNotFound")) {
			out.InvalidParameters = append(out.InvalidParameters, given)
			continue
		}
		if err != nil {
			return nil, err
		}
		out.Parameters = append(out.Parameters, *view)
	}

	return out, nil
}

// imageParameter returns the image ID behind "resolve:ssm:<name>" in a launch. The caller needs permission to read the
// parameter.
func (w *World) imageParameter(c *Call, given string) (string, error) {
	name := parseParameterName(c.location(), given)
	request := name.newAuthorization(w, c, "ssm:GetParameters")
	decision, err := w.evaluate(c, request)
	if err != nil {
		return "", err
	}
	if w.violates(c, "7.11", !decision.Allowed) {
		return "", w.accessDenied(c, request, decision)
	}

	found, ok := name.find(w, c)
	if !ok || found.location != c.location() || found.kind != ssmtypes.ParameterTypeString {
		return "", badRequest(
			"InvalidParameterValue", "The parameter %s does not exist, or is not of the type String.", given,
		)
	}

	view, err := w.showParameter(c, found, name.selector, false)
	if err != nil {
		return "", badRequest("InvalidParameterValue", "%s", messageOf(err))
	}

	return *view.Value, nil
}

// sortedParameters returns the visible parameters of the caller's account and Region by name.
func (w *World) sortedParameters(c *Call, keep func(*parameter) bool) []*parameter {
	var all []*parameter
	for _, p := range w.parameterState.inLocation(c.location()).all {
		if len(p.visibleVersions(c.At)) > 0 && keep(p) {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *parameter) int { return strings.Compare(a.name, b.name) })
	return all
}

// isBelowPath reports whether a name is in a path, directly or at any level.
func isBelowPath(name, path string, anywhere bool) bool {
	rest, ok := strings.CutPrefix(name, strings.TrimSuffix(path, "/")+"/")
	return ok && (anywhere || !strings.Contains(rest, "/"))
}

// paginateParameters is like paginate, with the limits of Parameter Store.
func paginateParameters[T any](c *Call, all []T, limit *int32, most int32, token *string) ([]T, *string, error) {
	if limit == nil {
		limit = &most
	}

	if *limit < 1 || *limit > most {
		return nil, nil, validationError(
			c, "MaxResults", limit, "Member must have value between 1 and "+strconv.Itoa(int(most)),
		)
	}

	page, next, err := paginate(all, limit, token)
	if err != nil {
		return nil, nil, badRequest("InvalidNextToken", "The specified token is not valid.")
	}

	return page, next, nil
}

func (w *World) getParametersByPath(c *Call, in *ssm.GetParametersByPathInput) (*ssm.GetParametersByPathOutput, error) {
	if err := refuseUnmodeled(in, "Path", "MaxResults", "NextToken", "Recursive", "WithDecryption"); err != nil {
		return nil, err
	}

	path := aws.ToString(in.Path)
	if !strings.HasPrefix(path, "/") {
		return nil, badRequest(
			"ValidationException",
			"The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash "+
				"\"/\".",
		)
	}

	request := AuthorizationRequest{
		Action: "ssm:GetParametersByPath", Resource: parameterARN(c.location(), path),
		Context: iampolicy.Context{"ssm:Recursive": {strconv.FormatBool(aws.ToBool(in.Recursive))}},
	}

	if err := w.authorize(c, request); err != nil {
		return nil, err
	}

	all := w.sortedParameters(c, func(p *parameter) bool { return isBelowPath(p.name, path, aws.ToBool(in.Recursive)) })
	page, next, err := paginateParameters(c, all, in.MaxResults, 10, in.NextToken)
	if err != nil {
		return nil, err
	}

	out := &ssm.GetParametersByPathOutput{Parameters: []ssmtypes.Parameter{}, NextToken: next}
	for _, p := range page {
		view, err := w.showParameter(c, p, "", aws.ToBool(in.WithDecryption))
		if err != nil {
			return nil, err
		}
		out.Parameters = append(out.Parameters, *view)
	}

	return out, nil
}

// parameterFilters maps the filters of DescribeParameters to the values of a parameter.
var parameterFilters = map[string]func(*parameter, parameterVersion) string{
	"Name":     func(p *parameter, _ parameterVersion) string { return p.name },
	"Type":     func(p *parameter, _ parameterVersion) string { return string(p.kind) },
	"DataType": func(p *parameter, _ parameterVersion) string { return p.dataType },
	"Tier":     func(_ *parameter, v parameterVersion) string { return string(v.tier) },
	"KeyId":    func(_ *parameter, v parameterVersion) string { return aws.ToString(v.keyID) },
}

// matchesFilter reports whether a parameter matches one of a filter's values.
func (p *parameter) matchesFilter(version parameterVersion, f ssmtypes.ParameterStringFilter) (bool, error) {
	key, option := aws.ToString(f.Key), aws.ToString(f.Option)
	_, known := parameterFilters[key]
	if !known && !strings.HasPrefix(key, "tag:") && key != "Path" {
		return false, badRequest("InvalidFilterKey", "The following filter key is not valid: %s.", key)
	}

	compare := p.filterComparison(version, key, option)
	if compare == nil {
		return false, badRequest(
			"InvalidFilterOption",
			"The following filter option is not valid: %s. Valid options include: [BeginsWith, Equals, Recursive, OneLevel].",
			option,
		)
	}

	return slices.ContainsFunc(f.Values, compare), nil
}

// filterComparison returns the comparison of a filter. Nil if the key does not support the option.
func (p *parameter) filterComparison(version parameterVersion, key, option string) func(wanted string) bool {
	if key == "Path" {
		return p.pathComparison(option)
	}

	if tag, ok := strings.CutPrefix(key, "tag:"); ok {
		if option != "" && option != "Equals" {
			return nil
		}
		return func(wanted string) bool { value, ok := p.tags[tag]; return ok && value == wanted }
	}

	value := parameterFilters[key](p, version)
	switch option {
	case "", "Equals":
		return func(wanted string) bool { return value == wanted }
	case "BeginsWith":
		return func(wanted string) bool {
			return strings.HasPrefix(strings.TrimPrefix(value, "/"), strings.TrimPrefix(wanted, "/"))
		}
	case "Contains":
		if key == "Name" {
			return func(wanted string) bool { return strings.Contains(value, wanted) }
		}
	}

	return nil
}

// pathComparison returns the comparison of a Path filter. Nil for an unknown option.
func (p *parameter) pathComparison(option string) func(wanted string) bool {
	switch option {
	case "", "OneLevel", "Recursive":
		return func(wanted string) bool { return isBelowPath(p.name, wanted, option == "Recursive") }
	}
	return nil
}

func (w *World) describeParameters(c *Call, in *ssm.DescribeParametersInput) (*ssm.DescribeParametersOutput, error) {
	if err := refuseUnmodeled(in, "MaxResults", "NextToken", "ParameterFilters"); err != nil {
		return nil, err
	}

	err := w.authorize(c, AuthorizationRequest{Action: "ssm:DescribeParameters", Resource: c.arn("ssm", "*")})
	if err != nil {
		return nil, err
	}

	view := []ssmtypes.ParameterMetadata{}
	for _, p := range w.sortedParameters(c, func(*parameter) bool { return true }) {
		versions := p.visibleVersions(c.At)
		newest, fits := versions[len(versions)-1], true
		for _, filter := range in.ParameterFilters {
			passes, err := p.matchesFilter(newest, filter)
			if err != nil {
				return nil, err
			}
			fits = fits && passes
		}

		if fits {
			view = append(view, ssmtypes.ParameterMetadata{
				ARN:              aws.String(p.arn()),
				AllowedPattern:   newest.pattern,
				DataType:         &p.dataType,
				Description:      newest.description,
				KeyId:            newest.keyID,
				LastModifiedDate: aws.Time(newest.visibleAt),
				LastModifiedUser: &newest.modifiedBy,
				Name:             &p.name,
				Policies:         []ssmtypes.ParameterInlinePolicy{},
				Tier:             newest.tier,
				Type:             p.kind,
				Version:          newest.number,
			})
		}
	}

	page, next, err := paginateParameters(c, view, in.MaxResults, 50, in.NextToken)
	if err != nil {
		return nil, err
	}

	return &ssm.DescribeParametersOutput{Parameters: page, NextToken: next}, nil
}

func (w *World) deleteParameter(c *Call, in *ssm.DeleteParameterInput) (*ssm.DeleteParameterOutput, error) {
	name := parseParameterName(c.location(), aws.ToString(in.Name))
	if err := w.authorize(c, name.newAuthorization(w, c, "ssm:DeleteParameter")); err != nil {
		return nil, err
	}
	found, ok := name.find(w, c)
	if !ok || found.location != c.location() {
		return nil, parameterNotFound(name.name)
	}
	w.parameterState.inLocation(found.location).remove(found.name)
	c.recordChange(found.arn())
	return &ssm.DeleteParameterOutput{}, nil
}

// authorizeParameterTags authorizes a call on the tags of a parameter and returns the parameter.
func (w *World) authorizeParameterTags(
	c *Call, kind ssmtypes.ResourceTypeForTagging, id *string, context iampolicy.Context,
) (*parameter, error) {
	if kind != ssmtypes.ResourceTypeForTaggingParameter {
		return nil, badRequest("InvalidResourceType", "The simulated AWS knows tags of parameters only.")
	}

	name := parseParameterName(c.location(), aws.ToString(id))
	if err := w.authorize(c, name.newAuthorization(w, c, "ssm:"+c.Operation).withContext(context)); err != nil {
		return nil, err
	}

	found, ok := name.findTagged(w, c)
	if !ok || found.location != c.location() {
		return nil, badRequest(
			"InvalidResourceId", "The resource ID is not valid. Verify that you entered the correct ID and try again.",
		)
	}

	return found, nil
}

func (w *World) addTagsToResource(c *Call, in *ssm.AddTagsToResourceInput) (*ssm.AddTagsToResourceOutput, error) {
	if err := w.validateParameterTags(c, in.Tags); err != nil {
		return nil, err
	}

	tags := parseTags(in.Tags, func(t ssmtypes.Tag) (string, string) { return aws.ToString(t.Key), aws.ToString(t.Value) })
	found, err := w.authorizeParameterTags(c, in.ResourceType, in.ResourceId, requestTagContext(tags))
	if err != nil {
		return nil, err
	}

	merged := maps.Clone(found.tags)
	maps.Copy(merged, tags)
	if w.violates(c, "7.8", len(merged) > 50) {
		return nil, badRequest("TooManyTagsError", "The number of tags on the resource is more than 50.")
	}

	found.tags = merged
	c.recordChange(found.arn())
	return &ssm.AddTagsToResourceOutput{}, nil
}

func (w *World) removeTagsFromResource(
	c *Call, in *ssm.RemoveTagsFromResourceInput,
) (*ssm.RemoveTagsFromResourceOutput, error) {
	found, err := w.authorizeParameterTags(c, in.ResourceType, in.ResourceId, iampolicy.Context{"aws:TagKeys": in.TagKeys})
	if err != nil {
		return nil, err
	}
	for _, key := range in.TagKeys {
		delete(found.tags, key)
	}
	c.recordChange(found.arn())
	return &ssm.RemoveTagsFromResourceOutput{}, nil
}

func (w *World) listTagsForResource(c *Call, in *ssm.ListTagsForResourceInput) (*ssm.ListTagsForResourceOutput, error) {
	found, err := w.authorizeParameterTags(c, in.ResourceType, in.ResourceId, nil)
	if err != nil {
		return nil, err
	}
	out := &ssm.ListTagsForResourceOutput{TagList: []ssmtypes.Tag{}}
	for _, key := range sortedKeys(found.tags) {
		out.TagList = append(out.TagList, ssmtypes.Tag{Key: aws.String(key), Value: aws.String(found.tags[key])})
	}
	return out, nil
}

// hasErrorCode reports whether an error is an API error with a code.
func hasErrorCode(err error, code string) bool {
	var api *APIError
	return errors.As(err, &api) && api.Code == code
}

// messageOf returns the message of an API error, or the text of another error.
func messageOf(err error) string {
	var api *APIError
	if errors.As(err, &api) {
		return api.Message
	}
	return err.Error()
}
