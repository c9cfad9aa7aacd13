#!/bin/sh
# The five stories of docs/stories, as a reader types them: sh five_stories.sh, in the folder that made_data.py wrote.
# Each section has the commands of one page, line for line; tests/stories/test_stories.py holds both equal.
set -eu

# --- novel
cd novel
awk 'BEGIN { RS = "" } { gsub(/\n/, " "); print }' novel.txt > paragraphs.txt
recurlm train paragraphs.txt --recipe demo --epochs 4 --time-limit 10m --out runs/novel
recurlm eval runs/novel
recurlm generate runs/novel --prompt "“Where is" --tokens 60 --temperature 0.5 --seed 1
tail -n 34 paragraphs.txt > end.txt
recurlm score runs/novel end.txt --format lines > scores.tsv
sort -n -k 5 scores.tsv | cut -f 1,5,7 | head -n 3
recurlm score runs/novel end.txt --format html > end.html
cd ..

# --- stimuli
cd stimuli
recurlm train english.txt --recipe demo --epochs 4 --out runs/english
recurlm score runs/english items.csv --column sentence > words.tsv
recurlm score runs/english items.csv --column sentence --region-column regions > regions.tsv
cat > means.awk <<'END'
NR > 1 { sum[$5 " " $3] += $8; rows[$5 " " $3]++; oov += $9 }
END {
    for (cell in sum) printf "%-18s %6.2f bits\n", cell, sum[cell] / rows[cell]
    print oov + 0, "unknown words"
}
END
awk -F '\t' -f means.awk regions.tsv | sort
cat > pairs.awk <<'END'
$5 == "verb" { bits[$2, $3] = $8; items[$2] }
END {
    for (item in items) {
        difference = bits[item, "reduced"] - bits[item, "full"]
        sum += difference; squares += difference ^ 2; expected += difference > 0; n++
    }
    mean = sum / n; error = sqrt((squares / n - mean ^ 2) / (n - 1))
    printf "reduced - full: %.2f bits, t(%d) = %.1f, %d of %d items above zero\n", mean, n - 1, mean / error, expected, n
}
END
awk -F '\t' -f pairs.awk regions.tsv
cd ..

# --- folder
cd folder
ls letters | head -n 6
recurlm train letters --recipe demo --epochs 5 --out runs/letters
recurlm show runs/letters
recurlm generate runs/letters --prompt "Dear Anna," --tokens 60 --temperature 0.5 --seed 1
recurlm eval runs/letters
cd ..

# --- logs
cd logs
recurlm train normal.log --recipe demo --epochs 4 --set text.digits=mask --out runs/log
recurlm score runs/log check.log --format lines --oov share:100000 > scores.tsv
sort -n -k 5 scores.tsv | cut -f 1,3,5,7 | head -n 5
tail -n 150 normal.log > unseen.log
recurlm score runs/log unseen.log --format lines --oov share:100000 > unseen.tsv
sort -n -k 5 unseen.tsv | cut -f 1,3,5,7 | head -n 2
cat > lives.awk <<'END'
match($0, /blk_-?[0-9]+/) {
    block = substr($0, RSTART, RLENGTH)
    event = $5
    for (field = 6; field <= NF; field++) if ($field !~ /[0-9]/) event = event "_" $field
    if (!(block in life)) blocks[++count] = block
    life[block] = life[block] " " event
}
END { for (number = 1; number <= count; number++) print blocks[number] life[blocks[number]] }
END
awk -f lives.awk normal.log | cut -d " " -f 2- > lives.txt
recurlm train lives.txt --recipe demo --epochs 10 --set text.cut=spaces --set batches.kind=sentences --set batches.batch_size=4 --set validation.protocol=sentence --out runs/lives
awk -f lives.awk later.log > later.txt
recurlm score runs/lives later.txt --format kaldi > costs.txt
sort -rn -k 2 costs.txt | head -n 3
cd ..

# --- molecules
cd molecules
recurlm train molecules.smi --recipe char-shakespeare --set "model.hidden_sizes=[128]" --set batches.kind=sentences --set batches.batch_size=20 --set validation.protocol=sentence --out runs/molecules
recurlm generate runs/molecules --count 100 --until-eos --tokens 100 --seed 1 > sampled.smi
grep "<unk>" sampled.smi || echo "no <unk>"
cat > well-formed.awk <<'END'
{
    text = $0
    gsub(/\[[^][]*\]/, "X", text)
    good = text !~ /[][]|\(\)/
    depth = 0
    split("", open)
    for (place = 1; place <= length(text); place++) {
        character = substr(text, place, 1)
        if (character == "(") depth++
        if (character == ")" && --depth < 0) good = 0
        if (character ~ /[0-9]/) open[character] = !open[character]
    }
    for (ring in open) if (open[ring]) good = 0
    if (good && depth == 0) print
}
END
awk -f well-formed.awk sampled.smi > well-formed.smi
wc -l < well-formed.smi
grep -vxFf molecules.smi well-formed.smi | sort -u | wc -l
recurlm score runs/molecules sampled.smi --format lines > nll.tsv
sort -n -k 4 nll.tsv | cut -f 4,7 | head -n 3
grep -F "S(=O)(=O)N" molecules.smi > sulfonamides.smi
recurlm train sulfonamides.smi --from runs/molecules --epochs 5 --out runs/sulfonamides
recurlm generate runs/sulfonamides --count 100 --until-eos --tokens 100 --seed 1 > focused.smi
grep -cF "S(=O)(=O)N" sampled.smi focused.smi
cd ..
