campaign run my.yaml --plain --dashboard off
