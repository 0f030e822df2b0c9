# MSTA on ViCLIP-B/16, Something-Something V2, 16 videos of each class, 2 clips
# x 3 crops (Table 3: top-1 17.5). SHOTS=2, 4 or 8 in the environment trains on
# fewer (9.1, 10.4, 13.4). m=128 beside blocks 8-12: 1,744,000 parameters, not
# the 8.7 M that the text speaks of. Table 1 has 2 sentences of each kind; the
# logs of these runs, whose accuracies are those of Table 3, have 8.
_base_ = [
    '../_base_/models/msta_b16.py', '../_base_/datasets/ssv2_msta.py',
    '../_base_/schedules/msta.py', '../_base_/default_runtime.py'
]

model = dict(
    adapter=dict(layers=[*range(7, 12)], scale=0.005),
    consistency=dict(
        spatial='data/descriptions/8_s_description_ssv2.json',
        temporal='data/descriptions/8_t_description_ssv2.json'),
    cls_head=dict(classes='sthv2'))
