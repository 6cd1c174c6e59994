package storetest_test

import (
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/storetest"
)

func TestD33_MemoryStoreKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) webhook.Store {
		return webhook.NewMemoryStore(webhook.MemoryConfig{})
	})
}

func TestD14_FullMemoryStoreKeepsTheContract(t *testing.T) {
	storetest.RunBounded(t, func(t *testing.T, capacity int) webhook.Store {
		return webhook.NewMemoryStore(webhook.MemoryConfig{MaxPending: capacity})
	})
}
