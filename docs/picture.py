#!/usr/bin/env python3
"""Take the README's picture, docs/report.png, of a page of a report: docs/picture.py runs/demo/patients/0001.html"""

import base64
import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

OUT = Path(__file__).with_name("report.png")
WINDOW = "--window-size=1180,760"  # pixels; the viewer takes its height from it
DRAWN = "return document.querySelector('.viewer').dataset.drawn === document.querySelector('.viewer .slider').value"
BOTTOM = "return Math.ceil(document.querySelector('.viewer').getBoundingClientRect().bottom + window.scrollY)"


def main(page: Path) -> None:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", WINDOW):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.get(page.resolve().as_uri())
        driver.find_element(By.CSS_SELECTOR, ".viewer .screen").send_keys("1")  # the middle slice of lesion 1
        WebDriverWait(driver, 20).until(lambda driver: driver.execute_script(DRAWN))
        driver.execute_script("scrollTo(0, 0)")  # the banner stays at the top of the window
        width, height = driver.execute_script("return innerWidth"), driver.execute_script(BOTTOM)
        clip = {"x": 0, "y": 0, "width": width, "height": height + 12, "scale": 1}
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    finally:
        driver.quit()
    picture = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    picture.quantize(256).save(OUT, optimize=True)
    print(f"{OUT}: {picture.width} x {picture.height} pixels, {OUT.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
