package imapd

// extCommands are the rows of the families that search, share, annotate and notify.
func extCommands() map[string]command {
	return map[string]command{
		// Search and order.
		"SEARCH":       {run: search, in: selected, seqs: uses, numbers: true},                   // RFC 9051 §6.4.4
		"UID SEARCH":   {run: search, in: selected},                                              // RFC 9051 §6.4.9
		"ESEARCH":      {run: esearch, in: loggedIn, ext: "MULTISEARCH"},                         // RFC 7377
		"SORT":         {run: sortCommand, in: selected, seqs: uses, numbers: true, ext: "SORT"}, // RFC 5256
		"UID SORT":     {run: sortCommand, in: selected, ext: "SORT"},                            // RFC 5256
		"THREAD":       {run: thread, in: selected, seqs: uses, numbers: true},                   // RFC 5256
		"UID THREAD":   {run: thread, in: selected},                                              // RFC 5256
		"CANCELUPDATE": {run: cancelUpdate, in: selected},                                        // RFC 5267 §4.3.5

		// Share and annotate.
		"SETACL":       {run: setACL, in: loggedIn, ext: "ACL"},           // RFC 4314 §3.1
		"DELETEACL":    {run: deleteACL, in: loggedIn, ext: "ACL"},        // RFC 4314 §3.2
		"GETACL":       {run: getACL, in: loggedIn, ext: "ACL"},           // RFC 4314 §3.3
		"LISTRIGHTS":   {run: listRights, in: loggedIn, ext: "ACL"},       // RFC 4314 §3.4
		"MYRIGHTS":     {run: myRights, in: loggedIn, ext: "ACL"},         // RFC 4314 §3.5
		"GETQUOTA":     {run: getQuota, in: loggedIn, ext: "QUOTA"},       // RFC 9208 §4.1.1
		"GETQUOTAROOT": {run: getQuotaRoot, in: loggedIn, ext: "QUOTA"},   // RFC 9208 §4.1.2
		"SETQUOTA":     {run: setQuota, in: loggedIn},                     // RFC 9208 §4.1.3
		"GETMETADATA":  {run: getMetadata, in: loggedIn, ext: "METADATA"}, // RFC 5464 §4.2
		"SETMETADATA":  {run: setMetadata, in: loggedIn, ext: "METADATA"}, // RFC 5464 §4.3

		// Tell, and tell briefly.
		"NOTIFY":   {run: notify, in: loggedIn, ext: "NOTIFY"}, // RFC 5465
		"COMPRESS": {run: compress, in: loggedIn},              // RFC 4978; announced by appendCompress
	}
}
