package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type request struct {
	Model         string          `json:"model"`
	Messages      []message       `json:"messages"`
	Stream        bool            `json:"stream"`
	StreamOptions map[string]bool `json:"stream_options"`
}

// chunk is what a relay needs of a chat.completion.chunk.
type chunk struct {
	Choices []struct {
		Delta struct {
			Content string `json:"content"`
		} `json:"delta"`
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		PromptTokens     int32 `json:"prompt_tokens"`
		CompletionTokens int32 `json:"completion_tokens"`
	} `json:"usage"`
}

const maxLine = 1 << 20

// complete asks the engine for a streamed chat completion, and returns the body. The caller closes it.
func complete(ctx context.Context, client *http.Client, url string, wanted request) (io.ReadCloser, error) {
	body, err := json.Marshal(wanted)
	if err != nil {
		return nil, err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	post.Header.Set("Content-Type", "application/json")
	response, err := client.Do(post)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("the engine answered with %s", response.Status)
	}
	return response.Body, nil
}

// chunks calls take with each chunk of a stream of server-sent events, until the end mark, then reads the body's end.
func chunks(body io.Reader, take func(*chunk) error) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		data, found := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !found {
			continue
		}
		if string(data) == "[DONE]" {
			_, err := io.Copy(io.Discard, body) // so that the connection can be used again
			return err
		}
		var next chunk
		if err := json.Unmarshal(data, &next); err != nil {
			return err
		}
		if err := take(&next); err != nil {
			return err
		}
	}
	return lines.Err()
}
