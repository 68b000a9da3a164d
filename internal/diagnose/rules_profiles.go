// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import "github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"

// profileRules explain why this machine has no credentials. There is one rule for each cause, because each has a
// different remedy.
var profileRules = []rule{
	{
		code:        "profile_not_found",
		cause:       distribution.ProfileMissing,
		summary:     "there is no profile {profile}",
		detail:      "Neither the AWS config file nor the credentials file has it.",
		remediation: "Correct the name, or create the profile: `aws configure --profile {profile}`.",
	},
	{
		code:        "profile_invalid",
		cause:       distribution.ProfileInvalid,
		summary:     "profile {profile} cannot be used",
		detail:      "The AWS config file or the credentials file cannot be read, or the profile is incomplete: {message}.",
		remediation: "Correct the profile. `aws configure list --profile {profile}` shows what is read.",
	},
	{
		code:    "profile_mfa",
		cause:   distribution.MFARequired,
		summary: "profile {profile} needs an MFA code",
		detail:  "The profile has mfa_serial. Packer cannot ask for a code.",
		remediation: "Use a profile without mfa_serial. For the source credentials, " +
			"`aws configure export-credentials --profile {profile} --format env` asks for the code and prints " +
			"environment variables to use in place of profile.",
	},
	{
		code:        "sso_sign_in",
		cause:       distribution.SSOSignInRequired,
		summary:     "profile {profile} is not signed in to IAM Identity Center",
		detail:      "There is no session, or it has expired.",
		remediation: "Run `aws sso login --profile {profile}`, then resume the run.",
	},
	{
		code:        "sso_role_denied",
		cause:       distribution.SSORoleDenied,
		summary:     "IAM Identity Center denies the role of profile {profile}",
		detail:      "The user is not assigned the permission set in the account of the profile.",
		remediation: "Correct sso_account_id and sso_role_name of the profile, or have the permission set assigned.",
	},
	{
		code:        "credential_process",
		cause:       distribution.ProcessFailed,
		summary:     "credential_process of profile {profile} failed",
		detail:      "The command of the profile returned no credentials: {message}.",
		remediation: "Correct what the command reports. `aws sts get-caller-identity --profile {profile}` runs it too.",
	},
	{
		code:        "web_identity_token",
		cause:       distribution.WebIdentityTokenMissing,
		summary:     "the web identity token cannot be read",
		detail:      "AWS_WEB_IDENTITY_TOKEN_FILE or web_identity_token_file names no readable file: {message}.",
		remediation: "Write the token to the file, or correct its name.",
	},
	{
		code:    "credentials_not_found",
		cause:   distribution.NoCredentials,
		summary: "there are no credentials",
		detail: "No option, environment variable or profile has any, and this machine is no EC2 instance with a " +
			"role.",
		remediation: "Set profile, or set AWS_PROFILE, or sign in with the tool that issues your credentials.",
	},
}
