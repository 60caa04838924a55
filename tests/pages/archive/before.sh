campaign run my.yaml --plain --dashboard off
campaign run my.yaml --set campaign.version=v1.1 --set science.seed=1 --plain --dashboard off
mkdir elsewhere
