// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"time"

	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// identityState holds accounts with their users and roles, sessions and organizations.
type identityState struct {
	accounts      orderedMap[*account]      // by number
	accessKeys    map[string]*user          // long-term credentials by access key ID
	sessions      map[string]*session       // temporary credentials by access key ID
	organizations orderedMap[*organization] // by ID
	handshakes    orderedMap[*handshake]    // by ID
	toClientTime  func(time.Time) time.Time
	// contents of encoded authorization messages
	authorizationFailures map[string]string
}

func newIdentityState() identityState {
	return identityState{
		accounts:      newOrderedMap[*account](),
		accessKeys:    map[string]*user{},
		sessions:      map[string]*session{},
		organizations: newOrderedMap[*organization](),
		handshakes:    newOrderedMap[*handshake](),
		toClientTime:  func(t time.Time) time.Time { return t },

		authorizationFailures: map[string]string{},
	}
}

// WithClientTime sets the conversion from the world's clock to the client's clock. A server with a scaled clock reports
// the end of a session in the client's time. Otherwise sessions would end too early for the client.
func WithClientTime(convert func(time.Time) time.Time) Option {
	return func(w *World) { w.toClientTime = convert }
}

// clientTime returns the client's time at a time of the world's clock.
func (w *World) clientTime(t time.Time) time.Time { return w.toClientTime(t) }

// account is an AWS account. It exists as soon as a call or option names it, in the partition of that call.
type account struct {
	number       string
	partition    string
	name         string
	email        string
	joinedMethod orgtypes.AccountJoinedMethod // how the account joined its organization
	suspended    bool
	roles        orderedMap[*role] // by name
	users        orderedMap[*user]
	policies     orderedMap[*managedPolicy] // by ARN
	profiles     orderedMap[*instanceProfile]
	node         *node // position in an organization; nil if in none
}

var accountNumber = regexp.MustCompile(`^[0-9]{12}$`)

// account returns an account. It creates the account at first use.
func (w *World) account(number, partition string) *account {
	if found, ok := w.accounts.get(number); ok {
		return found
	}

	created := &account{
		number:    number,
		partition: partition,
		name:      "account " + number,
		email:     "root@" + number + ".example",
		roles:     newOrderedMap[*role](),
		users:     newOrderedMap[*user](),
		policies:  newOrderedMap[*managedPolicy](),
		profiles:  newOrderedMap[*instanceProfile](),
	}

	w.accounts.put(number, created)
	return created
}

// arn returns an ARN in the account's partition.
func (a *account) arn(service, region, resource string) string {
	return fmt.Sprintf("arn:%s:%s:%s:%s:%s", a.partition, service, region, a.number, resource)
}

func (a *account) rootARN() string { return a.arn("iam", "", "root") }

// caller is the principal of a call: the root user of an account, a user or a session.
type caller struct {
	account      *account
	principal    iampolicy.Principal
	iamPrincipal *iamPrincipal // the user, or the role of the session; nil for root
	session      *session      // nil for long-term credentials
	policies     iampolicy.Policies
}

// isUser reports whether the caller is an IAM user, with long-term credentials or with GetSessionToken.
func (c *caller) isUser() bool {
	return c.iamPrincipal != nil && c.principal.Role == "" && c.principal.ARN == c.iamPrincipal.arn
}

// isAutoScaling reports whether Auto Scaling calls. It marks the instances of a group with aws:autoscaling:groupName
// (rule 8.9).
func (c *caller) isAutoScaling() bool {
	return c.session != nil && c.session.role != nil && c.session.role.service == "autoscaling.amazonaws.com"
}

// userID returns aws:userid: AIDA..., AROA...:session, or the account number for root.
func (c *caller) userID() string {
	switch {
	case c.iamPrincipal == nil:
		return c.account.number
	case c.isUser():
		return c.iamPrincipal.id
	}
	return c.iamPrincipal.id + ":" + c.session.name
}

// tags returns the principal's tags. Session tags override those of the user or role.
func (c *caller) tags() map[string]string {
	all := map[string]string{}
	if c.iamPrincipal != nil {
		maps.Copy(all, c.iamPrincipal.tags)
	}
	if c.session != nil {
		maps.Copy(all, c.session.tags)
	}
	return all
}

// location returns the caller's account and the call's Region.
func (c *Call) location() location { return location{c.caller.account.number, c.Region} }

// arn returns the ARN of a resource in the caller's account and the call's Region.
func (c *Call) arn(service, resource string) string {
	return c.caller.account.arn(service, c.Region, resource)
}

// recordChange notes IDs that the call created or changed.
func (c *Call) recordChange(ids ...string) { c.changedIDs = append(c.changedIDs, ids...) }

// authenticate sets the caller. An access key ID is an account number for the root user, or belongs to a user or
// session.
func (w *World) authenticate(c *Call) error {
	id := c.request.AccessKeyID
	user, long := w.accessKeys[id]
	session, temporary := w.sessions[id]
	switch {
	case accountNumber.MatchString(id):
		c.caller = w.rootCaller(w.account(id, partitionOf(c.Region)))
	case long:
		c.caller = w.userCaller(user)
	case temporary && session.token == c.request.SessionToken:
		if w.violates(c, "5.4", !c.At.Before(session.expires)) {
			return expiredTokenError(c)
		}
		c.caller = w.sessionCaller(session)
	default:
		return unknownCredentials(c)
	}

	// Credentials of an account are valid only in its partition.
	if c.caller.account.suspended || c.caller.account.partition != partitionOf(c.Region) {
		c.caller = nil
		return unknownCredentials(c)
	}

	if w.violates(c, "5.8", c.Service != "iam" && c.Service != "organizations" && !w.isRegionEnabled(c.location())) {
		return regionDisabled(c)
	}

	return w.checkSigningTime(c)
}

// expiredTokenError returns the service's error for an expired session (rule 5.4).
func expiredTokenError(c *Call) *APIError {
	switch c.Service {
	case "ec2":
		return badRequest("RequestExpired", "Request has expired.")
	case "sts", "iam":
		return newAPIError(http.StatusForbidden, "ExpiredToken", "The security token included in the request is expired")
	}
	status := http.StatusBadRequest
	if c.Service == "ebs" {
		status = http.StatusForbidden
	}
	return newAPIError(status, "ExpiredTokenException", "The security token included in the request is expired")
}

func unknownCredentials(c *Call) *APIError {
	const text = "The security token included in the request is invalid."
	switch c.Service {
	case "ec2":
		return newAPIError(
			http.StatusUnauthorized, "AuthFailure", "AWS was not able to validate the provided access credentials",
		)
	case "sts", "iam":
		return newAPIError(http.StatusForbidden, "InvalidClientTokenId", text)
	}
	return badRequest("UnrecognizedClientException", text)
}

// regionDisabled returns the error for a Region that the account has not enabled (rules 5.6 and 5.8).
func regionDisabled(c *Call) *APIError {
	if c.Service == "sts" {
		return newAPIError(http.StatusForbidden, "RegionDisabledException",
			"STS is not activated in this region for account:%s. Your account administrator can activate STS in this region "+
				"using the IAM Console.", c.caller.account.number)
	}
	return unknownCredentials(c)
}

func (w *World) rootCaller(a *account) *caller {
	return &caller{
		account: a, principal: a.principal(a.rootARN()),
		policies: iampolicy.Policies{ServiceControl: a.policyLevels(orgtypes.PolicyTypeServiceControlPolicy)},
	}
}

// principal returns a principal of the account.
func (a *account) principal(arn string) iampolicy.Principal {
	return iampolicy.Principal{ARN: arn, Account: a.number, Member: a.membership()}
}

func (w *World) userCaller(u *user) *caller {
	created := w.rootCaller(u.account)
	created.principal.ARN, created.iamPrincipal = u.arn, &u.iamPrincipal
	u.addPolicies(&created.policies)
	return created
}

func (w *World) sessionCaller(s *session) *caller {
	var created *caller
	switch {
	case s.role != nil:
		created = w.rootCaller(s.account)
		created.principal.ARN, created.principal.Role, created.iamPrincipal = s.arn(), s.role.arn, &s.role.iamPrincipal
		s.role.addPolicies(&created.policies)
		created.policies.Session = s.policies
	case s.user != nil:
		created = w.userCaller(s.user)
	default:
		created = w.rootCaller(s.account)
	}

	created.session = s
	return created
}
