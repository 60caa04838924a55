#!/bin/bash
#SBATCH --job-name=campaign-v2.1_golden-3b85c7
#SBATCH --output=/scratch/campaigns/v2.1_golden/logs/batch_0000_%j.out
#SBATCH --error=/scratch/campaigns/v2.1_golden/logs/batch_0000_%j.err
#SBATCH --open-mode=append
#SBATCH --no-requeue
#SBATCH --no-kill
#SBATCH --nodes=8
#SBATCH --time=04:00:00
#SBATCH --gres=gpu:4
#SBATCH --account=m1234
#SBATCH --qos=regular
#SBATCH --constraint=gpu
#SBATCH --exclusive=user
#SBATCH --mail-type=END

cd /home/me
module load python
exec /env/bin/python -m campaign.run '/home/me/it'"'"'s mine.yaml' --plain --set execution.order=block --chain 5
