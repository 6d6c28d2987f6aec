package imapd

// extCommands are the rows of the families that search, share, annotate and notify.
func extCommands() map[string]command {
	return map[string]command{}
}
