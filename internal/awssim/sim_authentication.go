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

// identityState is who there is: accounts with their users and roles, sessions, organizations.
type identityState struct {
	accounts      orderedMap[*account]      // by number
	accessKeys    map[string]*user          // long-term credentials, by access key id
	sessions      map[string]*session       // temporary credentials, by access key id
	organizations orderedMap[*organization] // by id
	handshakes    orderedMap[*handshake]    // invitations, by id
	toClientTime  func(time.Time) time.Time
}

func newIdentityState() identityState {
	return identityState{
		accounts:      newOrderedMap[*account](),
		accessKeys:    map[string]*user{},
		sessions:      map[string]*session{},
		organizations: newOrderedMap[*organization](),
		handshakes:    newOrderedMap[*handshake](),
		toClientTime:  func(t time.Time) time.Time { return t },
	}
}

// WithClientTime says what the client's clock shows at a moment of the world's: a server whose clock is scaled writes
// the end of a session in the client's time, else sessions would end too early for it.
func WithClientTime(convert func(time.Time) time.Time) Option {
	return func(w *World) { w.toClientTime = convert }
}

// clientTime is a moment of the world's clock on the client's.
func (w *World) clientTime(t time.Time) time.Time { return w.toClientTime(t) }

// account is an AWS account. It comes into being when it is first named, and is of the partition where that happens.
type account struct {
	number       string
	partition    string
	name         string
	email        string
	joinedMethod orgtypes.AccountJoinedMethod // how it came into its organization
	suspended    bool
	roles        orderedMap[*role] // by name
	users        orderedMap[*user]
	policies     orderedMap[*managedPolicy] // by ARN
	profiles     orderedMap[*instanceProfile]
	node         *node // its place in an organization; nil: in none
}

var accountNumber = regexp.MustCompile(`^[0-9]{12}$`)

// account finds an account, or makes it.
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

// arn is an ARN in the account's partition.
func (a *account) arn(service, region, resource string) string {
	return fmt.Sprintf("arn:%s:%s:%s:%s:%s", a.partition, service, region, a.number, resource)
}

func (a *account) rootARN() string { return a.arn("iam", "", "root") }

// caller is who makes a call: an account's root, a user or a session.
type caller struct {
	account      *account
	principal    iampolicy.Principal
	iamPrincipal *iamPrincipal // the user or the session's role; nil: root
	session      *session      // nil: long-term credentials
	policies     iampolicy.Policies
}

// isUser reports whether the caller is a user of IAM, with long-term credentials or in a session of its own.
func (c *caller) isUser() bool {
	return c.iamPrincipal != nil && c.principal.Role == "" && c.principal.ARN == c.iamPrincipal.arn
}

// userID is aws:userid: AIDA..., AROA...:session, or the account number of root.
func (c *caller) userID() string {
	switch {
	case c.iamPrincipal == nil:
		return c.account.number
	case c.isUser():
		return c.iamPrincipal.id
	}
	return c.iamPrincipal.id + ":" + c.session.name
}

// tags are the principal's: those of the user or role, and of the session, which win.
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

// location is the caller's account in the Region of the call.
func (c *Call) location() location { return location{c.caller.account.number, c.Region} }

// arn is the ARN of a resource of the caller's account in the Region of the call.
func (c *Call) arn(service, resource string) string {
	return c.caller.account.arn(service, c.Region, resource)
}

// recordChange notes what a call has made or changed, for the recorder.
func (c *Call) recordChange(ids ...string) { c.changedIDs = append(c.changedIDs, ids...) }

// authenticate finds out who calls: the access key id is an account's 12 digits (its root), a user's or a session's.
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

	// An account is of one partition: its credentials mean nothing in another.
	if c.caller.account.suspended || c.caller.account.partition != partitionOf(c.Region) {
		c.caller = nil
		return unknownCredentials(c)
	}

	if w.violates(c, "5.8", c.Service != "iam" && c.Service != "organizations" && !w.regionEnabled(c.location())) {
		return regionDisabled(c)
	}

	return w.checkSigningTime(c)
}

// expiredTokenError refuses a session that is over, in the words of the service (5.4).
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

// regionDisabled refuses a call in a Region that the account has not enabled (5.6, 5.8).
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

// principal is one of the account's own.
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
