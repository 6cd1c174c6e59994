package snippet

import (
	"github.com/seed68722ecd/webhook"

	"example.com/snippets/gorm"
)

var (
	gdb *gorm.DB
	req webhook.PublishRequest
)
