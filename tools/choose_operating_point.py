#!/usr/bin/env python3
"""Choose on the validation patients what makes the stager's heat a lesion; stored beside the net's weights."""

from pathlib import Path

from nbcad import cli


def main() -> int:
    arguments = cli.parser(__doc__)
    arguments.add_argument("--run", type=Path, default="runs/stage", help="folder of the trained net")
    arguments.add_argument("--database", type=Path, default="data/samples.sqlite", help="the sample database")
    arguments.add_argument("--lmdb", type=Path, default="data/lmdb", help="folder of the LMDBs that the net saw")
    cli.add_device(arguments)
    options = arguments.parse_args()

    from nbcad.inference import models
    from nbcad.nets import caffe_net
    from nbcad.runtime.json_file import write_json
    from nbcad.samples import lmdb_io
    from nbcad.training import operating_point

    caffe_net.use_device(options.device)
    n4 = lmdb_io.read_info(options.lmdb)["n4"]
    point = operating_point.choose(options.database, options.run / "final.caffemodel", n4)
    write_json(point, options.run / "operating_point.json")
    models.seal_stage(options.run)
    chosen = next(tried for tried in point["tried"] if tried["threshold"] == point["threshold"])
    print(
        f"{options.run / 'operating_point.json'}: probability {point['threshold']}; "
        f"validation: {chosen['hit']} of {chosen['true']} lesions, {chosen['false']} false "
        f"in {point['validation_patients']} patients"
    )
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)
