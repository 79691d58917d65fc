"""Models in the formats of others. These modules need the extra `export`; nothing else imports what it installs."""
