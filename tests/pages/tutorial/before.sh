mkdir elsewhere
for version in v1.0 v1.1; do
    mkdir -p "campaigns/${version}_quickstart/cache" && cp -r "$COMPILED" "campaigns/${version}_quickstart/cache/jax"
done
