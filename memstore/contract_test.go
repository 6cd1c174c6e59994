package memstore_test

import (
	"testing"

	"github.com/seed68722ecd/webhook"
	"github.com/seed68722ecd/webhook/memstore"
	"github.com/seed68722ecd/webhook/storetest"
)

func TestD33_StoreKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) webhook.Store {
		return memstore.New(memstore.Config{})
	})
}

func TestD14_FullStoreKeepsTheContract(t *testing.T) {
	storetest.RunBounded(t, func(t *testing.T, capacity int) webhook.Store {
		return memstore.New(memstore.Config{MaxPending: capacity})
	})
}
