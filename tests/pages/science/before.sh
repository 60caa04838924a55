for version in v1.0 v1.1; do
    mkdir -p "campaigns/${version}_mocks/cache" && cp -r "$COMPILED" "campaigns/${version}_mocks/cache/jax"
    campaign run my.yaml --plain --dashboard off --set campaign.version=$version --set "science.seed=${version#v1.}"
done
mkdir old new
cp campaigns/v1.0_mocks/catalogs/r0000/mock_z1.000.hdf5 old
cp campaigns/v1.1_mocks/catalogs/r0000/mock_z1.000.hdf5 new
