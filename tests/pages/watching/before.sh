campaign run my.yaml --plain --dashboard off
printf '#!/bin/sh\ncat\n' > tell.sh && chmod +x tell.sh
mkdir .config && touch .config/notices && chmod 600 .config/notices
