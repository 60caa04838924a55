quiet="--plain --dashboard off"
campaign sweep --name mesh --params h:ladder:0.4:0.5:4 --function study.py:drag --returns drag $quiet
campaign run mocks.yaml $quiet
