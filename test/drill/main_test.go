package drill

import (
	"os"
	"testing"

	"bahnpost/test/town"
)

func TestMain(m *testing.M) { os.Exit(town.Main(m)) }
