campaign registry init --url sqlite:///registry.db
campaign registry register-campaign --url sqlite:///registry.db --name mocks --intent Sweep --json > registered.json
UUID=$(python -c 'import json; print(json.load(open("registered.json"))["campaign_id"])')
echo "UUID=$UUID" > env.sh
campaign registry start-campaign --url sqlite:///registry.db "$UUID"
