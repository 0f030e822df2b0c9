# Kinetics-400, base to novel: 16 videos of each of 200 base classes to train
# on, the videos of base or of the 200 novel classes to test on, as
# tools/data/make_subsets.py writes them. SEED=2 or SEED=3 in the environment
# chooses another draw, HALF=novel the test on novel classes (HALF=base if not
# set; there is no training list of novel ones). A config gives `classes` to
# its head, and `train` and `test` to its data sets, whose pipelines are its
# own.
base_novel = dict(
    classes='k400_{{$HALF:base}}',
    train=dict(
        ann_file='data/kinetics400/base_novel/'
        '{{$HALF:base}}_shots{{$SHOTS:16}}_seed{{$SEED:1}}.txt',
        data_prefix=dict(video='data/kinetics400/videos_train')),
    test=dict(
        ann_file='data/kinetics400/base_novel/{{$HALF:base}}_test.txt',
        data_prefix=dict(video='data/kinetics400/videos_val')))
