# MSTA: with descriptions of the classes as well, near whose features in the
# frozen text tower the trained features of the names stay.
_base_ = 'msta_plain.py'

sentences = '{{$MMVIDADAPT_QUICKSTART:.quickstart}}/descriptions'
model = dict(
    consistency=dict(
        spatial=sentences + '/spatial.json',
        temporal=sentences + '/temporal.json'))
