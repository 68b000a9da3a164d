// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// platform is the billing information of a snapshot's data. Copies, volumes and images inherit it (rules 2.3.3 and
// 2.3.5).
type platform struct {
	usageOperation string // empty for RunInstances
	productCodes   []types.ProductCode
}

// platformDetails maps usage operations to platform details (rule 2.3.4).
var platformDetails = map[string]string{
	"RunInstances":      "Linux/UNIX",
	"RunInstances:0010": "Red Hat Enterprise Linux",
	"RunInstances:00g0": "Red Hat BYOL Linux",
	"RunInstances:000g": "SUSE Linux",
	"RunInstances:0002": "Windows",
	"RunInstances:0800": "Windows BYOL",
	"RunInstances:0006": "Windows with SQL Server Standard",
	"RunInstances:0102": "Windows with SQL Server Enterprise",
	"RunInstances:0202": "Windows with SQL Server Web",
	"RunInstances:0g00": "Ubuntu Pro",
}

func (p platform) operation() string {
	if p.usageOperation == "" {
		return "RunInstances"
	}
	return p.usageOperation
}

func (p platform) details() string { return platformDetails[p.operation()] }

func (p platform) isWindows() bool { return strings.HasPrefix(p.details(), "Windows") }

// isMarketplace reports whether the data has an AWS Marketplace product code.
func (p platform) isMarketplace() bool {
	return slices.ContainsFunc(p.productCodes, func(code types.ProductCode) bool {
		return code.ProductCodeType == types.ProductCodeValuesMarketplace
	})
}

// parseBillingProducts returns the platform for the BillingProducts of RegisterImage. Only accounts with an owner alias
// may use them, as on AWS only Amazon and Marketplace sellers may (rule 2.3.3). "bp-0002" means RunInstances:0002. Any
// other value is a product code.
func (w *World) parseBillingProducts(c *Call, products []string) (platform, error) {
	var p platform
	if w.violates(c, "2.3.3", len(products) > 0 && ownerAlias(c.location().account) == nil) {
		return p, badRequest("AuthFailure", "Not authorized to use billing products.")
	}

	for _, product := range products {
		if suffix, ok := strings.CutPrefix(product, "bp-"); ok {
			p.usageOperation = "RunInstances:" + suffix
			if _, known := platformDetails[p.usageOperation]; !known {
				return p, badRequest("InvalidParameterValue", "The billing product %s does not exist", product)
			}
			continue
		}
		p.productCodes = append(p.productCodes, types.ProductCode{
			ProductCodeId: aws.String(product), ProductCodeType: types.ProductCodeValuesMarketplace,
		})
	}

	return p, nil
}
