package tokengrpc

import (
	"fmt"
	"regexp"
	"strconv"
)

// Cursor is a position in a generation: what a client needs to go on exactly where another one left. Its text, which String
// returns and ParseCursor reads, is one line and the same in the clients of all languages, so it can be stored or sent.
type Cursor struct {
	// GenerationID is the id of the generation.
	GenerationID string
	// Sequence is that of the last event processed; 0 for none.
	Sequence int32
	// LogIncarnation names the stored events; empty if unknown. With it, the server refuses to resume from other events
	// under the same id.
	LogIncarnation string
	// Checksum is the CRC-32 of all output up to Sequence, if HasChecksum. It is unset if unknown, and before any output.
	Checksum    uint32
	HasChecksum bool
}

var cursorText = regexp.MustCompile(`^tg1\.(0|[1-9][0-9]{0,9})\.([0-9a-f]{8})?\.([A-Za-z0-9_-]{0,32})\.([A-Za-z0-9._~-]{1,128})$`)

// ParseCursor reads the text of a cursor. Its error is an *Error with the reason INVALID_CURSOR.
func ParseCursor(text string) (Cursor, error) {
	cursor, err := parseCursor(text)
	if err != nil {
		return Cursor{}, err
	}
	return cursor, nil
}

// parseCursor returns a typed error, because a nil *Error in an error is not nil.
func parseCursor(text string) (Cursor, *Error) {
	parts := cursorText.FindStringSubmatch(text)
	if parts == nil {
		return Cursor{}, invalidCursor(text)
	}
	sequence, err := strconv.ParseInt(parts[1], 10, 32)
	if err != nil {
		return Cursor{}, invalidCursor(text)
	}
	cursor := Cursor{GenerationID: parts[4], Sequence: int32(sequence), LogIncarnation: parts[3]}
	if parts[2] != "" {
		checksum, err := strconv.ParseUint(parts[2], 16, 32)
		if err != nil {
			return Cursor{}, invalidCursor(text)
		}
		cursor.Checksum, cursor.HasChecksum = uint32(checksum), true
	}
	return cursor, nil
}

// String returns the cursor's text: tg1.SEQUENCE.CHECKSUM.INCARNATION.ID.
func (c Cursor) String() string {
	checksum := ""
	if c.HasChecksum {
		checksum = fmt.Sprintf("%08x", c.Checksum)
	}
	return fmt.Sprintf("tg1.%d.%s.%s.%s", c.Sequence, checksum, c.LogIncarnation, c.GenerationID)
}

// valid returns an error if the cursor cannot be that of a stream.
func (c Cursor) valid() *Error {
	_, err := parseCursor(c.String())
	return err
}
